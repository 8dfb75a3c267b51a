"""Storage: whole directories, written once; the same behind a URL."""

import errno
import shutil
import sys
from pathlib import Path

import pytest

from backend.errors import ModelError, UserError
from backend.registry.storage import Storage


def version(folder: Path, text: str = "1") -> Path:
    folder.mkdir(parents=True)
    (folder / "version.json").write_text(text)
    (folder / "heads.safetensors").write_bytes(b"x" * 10)
    (folder / "generator").mkdir()
    (folder / "generator" / "adapter_model.safetensors").write_bytes(b"y")
    return folder


@pytest.fixture(params=["folder", "url"])
def storage(request, tmp_path):
    if request.param == "folder":
        return Storage(str(tmp_path / "store"), tmp_path / "cache")
    return Storage(f"memory://store-{tmp_path.name}", tmp_path / "cache")


def test_what_is_put_comes_back_whole(storage, tmp_path):
    storage.put(version(tmp_path / "new"), "2.1/abc")
    found = storage.get("2.1/abc")
    files = sorted(f.relative_to(found).as_posix() for f in found.rglob("*") if f.is_file())
    assert files == ["generator/adapter_model.safetensors", "heads.safetensors", "version.json"]
    assert storage.has("2.1/abc")
    assert not storage.has("2.1/other")


def test_a_version_is_never_overwritten(storage, tmp_path):
    storage.put(version(tmp_path / "one", "first"), "k")
    storage.put(version(tmp_path / "two", "second"), "k")
    assert (storage.get("k") / "version.json").read_text() == "first"


def test_an_unknown_key_says_so(storage):
    with pytest.raises(ModelError, match="are gone"):
        storage.get("nothing")


def test_a_lost_cache_is_filled_from_the_url(tmp_path):
    url = f"memory://lost-{tmp_path.name}"
    Storage(url, tmp_path / "here").put(version(tmp_path / "new"), "k")
    elsewhere = Storage(url, tmp_path / "there")
    assert elsewhere.has("k")
    assert (elsewhere.get("k") / "heads.safetensors").read_bytes() == b"x" * 10
    assert (elsewhere.get("k") / "generator" / "adapter_model.safetensors").read_bytes() == b"y"


def test_a_copy_to_another_disk_that_breaks_off_is_no_version(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path / "store"), tmp_path / "cache")

    def copied(source, target):
        Path(target).mkdir()
        (Path(target) / "version.json").write_text("1")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", copied)
    with pytest.raises(OSError, match="space"):
        storage.put(version(tmp_path / "new"), "k")
    assert not storage.has("k")
    assert list((tmp_path / "store").iterdir()) == []


def test_downloads_that_break_off_leave_nothing(tmp_path, monkeypatch):
    url = f"memory://broken-{tmp_path.name}"
    Storage(url, tmp_path / "here").put(version(tmp_path / "new"), "k")
    storage = Storage(url, tmp_path / "there")

    def get(_, target, recursive):
        Path(target).mkdir()
        (Path(target) / "half").write_bytes(b"")
        raise ConnectionError("gone")

    monkeypatch.setattr(type(storage._files()), "get", lambda self, *given, **more: get(*given, **more))
    with pytest.raises(ConnectionError):
        storage.get("k")
    assert list((tmp_path / "there").rglob("half")) == []


def test_a_directory_without_its_description_is_not_a_version(tmp_path):
    half = tmp_path / "store" / "k"
    half.mkdir(parents=True)
    (half / "heads.safetensors").write_bytes(b"")
    storage = Storage(str(tmp_path / "store"), tmp_path / "cache")
    assert not storage.has("k")
    storage.put(version(tmp_path / "new"), "k")
    assert (storage.get("k") / "heads.safetensors").read_bytes() == b"x" * 10


@pytest.mark.parametrize(("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_url_whose_package_is_missing_names_the_extra(scheme, package, extra, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"STORAGE_URL.*{package}") as refused:
        Storage(f"{scheme}://key:secret@bucket/versions", tmp_path)
    assert f"[{extra}]" in refused.value.hint
    assert "secret" not in refused.value.sentence()


def test_a_url_of_no_known_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"STORAGE_URL.*'bucket'"):
        Storage("bucket://versions", tmp_path)
