"""A tiny BERT without pooler, made from a config: everything but learning can be shown with it."""

from pathlib import Path

import pytest

from backend.models.encoder import Encoder
from backend.models.spec import ModelSpec
from tests.models.tiny import save_tiny_bert


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the tiny BERT."""
    return save_tiny_bert(tmp_path_factory.mktemp("tiny-bert"))


@pytest.fixture(scope="session")
def encoder(tiny: Path, device: str) -> Encoder:
    """The tiny BERT, loaded."""
    return Encoder.load(ModelSpec(str(tiny), device=device, threads=1, batch_tokens=64))
