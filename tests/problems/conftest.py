"""A tiny BERT, made from a config, on every device that there is."""

import pytest

from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from tests.models.tiny import save_tiny_bert


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory, device: str) -> Encoder:
    """The tiny BERT, loaded."""
    return Encoder.load(ModelSpec(str(save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))), device=device, threads=1))
