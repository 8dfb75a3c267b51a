"""Where a base model is found, and that nothing of a package is run."""

import sys
from pathlib import Path

import pytest

from backend.errors import ModelError
from backend.models.spec import ModelSpec, resolve
from backend.settings import Settings


def make_package(root: Path, name: str) -> Path:
    folder = root / name / "deep" / "weights"
    folder.mkdir(parents=True)
    (root / name / "__init__.py").write_text("raise RuntimeError('executed')")
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    return folder


def test_a_package_is_found_by_either_spelling_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_package(tmp_path, "carries_a_model")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("carries_a_model") == resolve("carries-a-model") == str(folder)
    assert "carries_a_model" not in sys.modules


def test_a_hub_name_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_package(tmp_path, "all_MiniLM_L6_v2")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("sentence-transformers/all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert resolve("bert-base-uncased") == "bert-base-uncased"
    assert resolve("json") == "json"


def test_a_folder_without_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="holds no model"):
        resolve(str(tmp_path))
    with pytest.raises(ModelError, match="no folder"):
        resolve(str(tmp_path / "elsewhere"))


def test_a_spec_is_made_of_the_settings() -> None:
    settings = Settings(base_model="m", base_model_revision="r", text_prefix="query: ", max_tokens=64, _env_file=None)
    spec = ModelSpec.from_settings(settings)
    assert (spec.name, spec.revision, spec.text_prefix, spec.max_tokens) == ("m", "r", "query: ", 64)
