"""Which base model, and where it is found. Loads nothing and imports no torch."""

from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path

from backend.errors import ModelError
from backend.settings import Settings


@dataclass(frozen=True)
class ModelSpec:
    """A base model and how it is run. ``threads`` 0: one for each core; ``train_tokens`` 0: what suits the device;
    ``revision`` only matters for hub names."""

    name: str
    revision: str = ""
    text_prefix: str = ""
    max_tokens: int = 256
    batch_tokens: int = 4096
    train_tokens: int = 0
    device: str = "auto"
    threads: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "ModelSpec":
        """The base model of these settings."""
        return cls(
            name=settings.base_model,
            revision=settings.base_model_revision,
            text_prefix=settings.text_prefix,
            max_tokens=settings.max_tokens,
            batch_tokens=settings.batch_tokens,
            train_tokens=settings.train_tokens,
            device=settings.device,
            threads=settings.threads,
        )


@dataclass(frozen=True)
class TextSpec:
    """A model that writes, and how. ``prompt``: the template of controls that have none; ``max_tokens`` of a prompt,
    ``max_new_tokens`` of a text; ``candidates`` texts are written, with ``beams`` or as many beams; ``samples`` are
    drawn beside them."""

    name: str
    revision: str = ""
    prompt: str = ""
    max_tokens: int = 512
    max_new_tokens: int = 96
    candidates: int = 1
    beams: int = 1
    samples: int = 0
    batch_tokens: int = 4096
    train_tokens: int = 0
    device: str = "auto"
    threads: int = 0

    @classmethod
    def from_settings(cls, settings: Settings) -> "TextSpec | None":
        """The model of these settings that writes; None without one."""
        if not settings.text_model:
            return None
        return cls(
            name=settings.text_model,
            revision=settings.text_model_revision,
            prompt=settings.text_prompt,
            max_tokens=settings.text_max_tokens,
            max_new_tokens=settings.text_max_new_tokens,
            candidates=settings.text_candidates,
            beams=settings.text_beams,
            samples=settings.text_samples,
            batch_tokens=settings.batch_tokens,
            train_tokens=settings.train_tokens,
            device=settings.device,
            threads=settings.threads,
        )


def resolve(name: str, setting: str = "BASE_MODEL") -> str:
    """Where transformers finds the model: a folder, or ``name`` itself as a name on the hub.

    A folder wins, then an installed package that carries weights (its code is not run). Raises ModelError for a
    folder without them.
    """
    if Path(name).is_dir():
        return str(_check_folder(Path(name)))
    if "/" not in name and (folder := _in_package(name.replace("-", "_"))):
        return str(folder)
    if name.startswith((".", "/", "~")):
        raise ModelError(f"There is no folder {name}.", f"Correct {setting}.")
    return name


def _check_folder(folder: Path) -> Path:
    if not _carries_model(folder):
        raise ModelError(
            f"{folder} holds no model: config.json and *.safetensors are needed.",
            "Save it with save_pretrained(…, safe_serialization=True); pickled weights are never loaded.",
        )
    return folder


def _carries_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))


def _in_package(module: str) -> Path | None:
    """The first folder with a model in an installed package, None where there is none. Nothing is imported."""
    found = PathFinder.find_spec(module) if module.isidentifier() else None
    for root in (found.submodule_search_locations or ()) if found else ():
        for config in sorted(Path(root).rglob("config.json")):
            if _carries_model(config.parent):
                return config.parent
    return None
