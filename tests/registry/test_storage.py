"""Storage: whole directories, written once; the same behind a URL."""

from pathlib import Path

import pytest

from backend.registry.storage import Storage


def version(folder: Path, text: str = "1") -> Path:
    folder.mkdir(parents=True)
    (folder / "version.json").write_text(text)
    (folder / "heads.safetensors").write_bytes(b"x" * 10)
    return folder


@pytest.fixture(params=["folder", "url"])
def storage(request, tmp_path):
    if request.param == "folder":
        return Storage(str(tmp_path / "store"), tmp_path / "cache")
    return Storage(f"memory://store-{tmp_path.name}", tmp_path / "cache")


def test_what_is_put_comes_back_whole(storage, tmp_path):
    storage.put(version(tmp_path / "new"), "2.1/abc")
    assert sorted(f.name for f in storage.get("2.1/abc").iterdir()) == ["heads.safetensors", "version.json"]
    assert storage.has("2.1/abc")
    assert not storage.has("2.1/other")


def test_a_version_is_never_overwritten(storage, tmp_path):
    storage.put(version(tmp_path / "one", "first"), "k")
    storage.put(version(tmp_path / "two", "second"), "k")
    assert (storage.get("k") / "version.json").read_text() == "first"


def test_an_unknown_key_says_so(storage):
    with pytest.raises(FileNotFoundError, match="no version"):
        storage.get("nothing")


def test_a_lost_cache_is_filled_from_the_url(tmp_path):
    url = f"memory://lost-{tmp_path.name}"
    Storage(url, tmp_path / "here").put(version(tmp_path / "new"), "k")
    elsewhere = Storage(url, tmp_path / "there")
    assert elsewhere.has("k")
    assert (elsewhere.get("k") / "heads.safetensors").read_bytes() == b"x" * 10


def test_a_directory_without_its_description_is_not_a_version(tmp_path):
    half = tmp_path / "store" / "k"
    half.mkdir(parents=True)
    (half / "heads.safetensors").write_bytes(b"")
    storage = Storage(str(tmp_path / "store"), tmp_path / "cache")
    assert not storage.has("k")
    storage.put(version(tmp_path / "new"), "k")
    assert (storage.get("k") / "heads.safetensors").read_bytes() == b"x" * 10
