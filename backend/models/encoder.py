"""A pretrained encoder: texts to features, with or without an adapter merged into it."""

import contextlib
import copy
import hashlib
import inspect
import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.models.auto.modeling_auto import MODEL_MAPPING
from transformers.utils import logging as hf_logging

from backend.errors import ModelError
from backend.models.batching import batches
from backend.models.device import autocast, cores, in_halves, pick_device
from backend.models.spec import ModelSpec, resolve
from backend.models.tokens import Tokens, tokens_of

Floats = NDArray[np.float32]
Progress = Callable[[int, int], None]

SAMPLES = 256  # values of each tensor that identify the weights


class Encoder:
    """Mean-pooled features of a transformer; safe to use from several threads.

    ``base_id``: 16 hex digits that name weights, prefix and cut; the same on every machine. ``dim``: D. ``frozen``: the
    encoder without any adapter.
    """

    def __init__(self, model: nn.Module, tokens: Tokens, spec: ModelSpec, base_id: str) -> None:
        self.model, self.tokens, self.spec, self.base_id = model, tokens, spec, base_id
        self.device = next(model.parameters()).device
        self.dim = self._width()
        self.frozen = self

    @classmethod
    def load(cls, spec: ModelSpec) -> "Encoder":
        """The encoder in memory, on its device. Raises ModelError that says why it cannot be loaded."""
        torch.set_num_threads(spec.threads or cores())
        source = resolve(spec.name)
        with quiet_loading():
            model, tokenizer = _read(spec, source)
        tokens = tokens_of(spec, tokenizer, model)
        base_id = fingerprint(model, [tokens.prefix, tokens.max_tokens, len(tokens.tokenizer)])
        model.to(pick_device(spec.device)).eval().requires_grad_(False)
        found = cls(model, tokens, spec, base_id)
        if found._reads_padding():
            raise ModelError(
                f"{spec.name} reads the padding of a batch: a text's features depend on the texts beside it.",
                "Choose another BASE_MODEL.",
            )
        return found

    def embed(self, texts: Sequence[str], on_progress: Progress | None = None) -> Floats:
        """Features (N, D), float32, in the order of the texts; (0, D) without texts."""
        ids = self.tokens.ids(texts) if texts else []
        features = np.zeros((len(ids), self.dim), np.float32)
        done = 0
        for batch in batches([len(one) for one in ids], self.spec.batch_tokens):
            features[batch] = self._forward([ids[at] for at in batch])
            done += len(batch)
            if on_progress:
                on_progress(done, len(ids))
        return features

    def hidden(self, sequences: Sequence[Sequence[int]]) -> Iterator[tuple[int, Floats]]:
        """Position and last hidden states (T, D), float32, of each sequence of token ids, longest first.

        They are large: a batch is computed when those of the one before have been taken.
        """
        for batch in batches([len(ids) for ids in sequences], self.spec.batch_tokens):
            states = self._in_halves([sequences[at] for at in batch], last_hidden)
            for at, state in zip(batch, states, strict=True):
                yield at, state[: len(sequences[at])]

    def adapted(self, directory: Path) -> "Encoder":
        """This encoder with the adapter in ``directory`` merged in: as fast as without, and independent of it.

        What the adapter does not change (embeddings above all) is shared with this encoder.
        Raises ModelError for an adapter that does not fit.
        """
        model = merged(self.model, directory, self.spec.name)
        found = Encoder(model, self.tokens, self.spec, adapter_digest(self.base_id, directory))
        found.frozen = self.frozen
        return found

    def _width(self) -> int:
        """D, of the state of one token: some models (OPT) project theirs from the width that the config tells."""
        one = self.tokens.batch([[self.tokens.pad]], self.device)
        try:
            with torch.inference_mode():
                return last_hidden(self.model, one).shape[2]
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ModelError(f"{self.spec.name} cannot read a text: {error}", "Choose another BASE_MODEL.") from error

    def _reads_padding(self) -> bool:
        """Whether a text has other features beside a longer one, by more than rounding (FNet, ConvBERT, YOSO)."""
        short, long = self.tokens.ids(["a", "a b c d e f"])
        alone, beside = self._forward([short])[0], self._forward([short, long])[0]
        return bool(np.linalg.norm(alone - beside) > 0.05 * np.linalg.norm(alone))

    def _forward(self, ids: Sequence[Sequence[int]]) -> Floats:
        """Features (B, D) of one batch."""
        return np.stack(self._in_halves(ids, pool))

    def _in_halves(
        self, ids: Sequence[Sequence[int]], compute: Callable[[nn.Module, dict[str, Tensor]], Tensor]
    ) -> list[Floats]:
        """What is computed of each sequence of one batch; where memory runs out, of its halves."""

        def forward(part: Sequence[Sequence[int]]) -> list[Floats]:
            with torch.inference_mode(), autocast(self.device):
                return list(compute(self.model, self.tokens.batch(part, self.device)).cpu().numpy())

        return in_halves(
            ids, forward, lambda one: ModelError(f"No memory for one text of {len(one)} tokens.", "Lower MAX_TOKENS.")
        )


def merged(model: nn.Module, directory: Path, name: str) -> nn.Module:
    """A copy of a model with the adapter in ``directory`` merged in; what that does not change is shared.

    Raises ModelError for an adapter that does not fit.
    """
    from peft import PeftModel

    device = next(model.parameters()).device
    try:
        with without_alias_warning():
            with_adapter = PeftModel.from_pretrained(
                share(model), str(directory), is_trainable=False, torch_device=str(device)
            )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(f"The adapter in {directory} does not fit {name}: {error}") from error
    _own_adapted_weights(with_adapter)
    found: nn.Module = with_adapter.merge_and_unload()
    return found.eval().requires_grad_(False)


def adapter_digest(base_id: str, directory: Path) -> str:
    """16 hex digits that name a model and the adapter in ``directory``."""
    weights = (Path(directory) / "adapter_model.safetensors").read_bytes()
    return hashlib.sha256(base_id.encode() + weights).hexdigest()[:16]


def last_hidden(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The last hidden states (B, T, D), float32 whatever the model computes in."""
    hidden: Tensor = model(**batch).last_hidden_state.float()
    return hidden


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Mean of hidden states (B, T, D) over real tokens, (B, D)."""
    real = mask.unsqueeze(-1).to(hidden.dtype)  # (B, T, 1)
    return (hidden * real).sum(dim=1) / real.sum(dim=1)


def pool(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Mean of the last hidden states over real tokens, (B, D), float32."""
    return mean_pooled(last_hidden(model, batch), batch["attention_mask"])


def share(model: nn.Module) -> nn.Module:
    """A copy with modules of its own and the same tensors."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(t): t for t in tensors})


@contextlib.contextmanager
def without_alias_warning() -> Iterator[None]:
    """Inside, peft may use a name that transformers renamed; it still works and no one here can change it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        yield


@contextlib.contextmanager
def quiet_loading() -> Iterator[None]:
    """Inside, transformers reports no unused weights and draws no bar: what matters is checked and raised."""
    level, bar = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def lora_layers(model: nn.Module) -> Iterator[Any]:
    """All layers that an adapter wraps."""
    from peft.tuners.lora import LoraLayer

    return (module for module in model.modules() if isinstance(module, LoraLayer))


def _own_adapted_weights(model: nn.Module) -> None:
    """Give each wrapped layer a weight of its own, so that merging leaves the shared one as it is."""
    for layer in lora_layers(model):
        base = layer.get_base_layer()
        base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)


def _read(spec: ModelSpec, source: str) -> tuple[nn.Module, Any]:
    def kind(config: Any) -> Any:
        _check_encoder(spec, config)
        return AutoModel

    return read_pretrained(spec.name, spec.revision, source, "BASE_MODEL", kind, _no_pooler)


def read_pretrained(
    name: str,
    revision: str,
    source: str,
    setting: str,
    kind: Callable[[Any], Any],
    more: Callable[[Any], dict[str, Any]] = lambda _: {},
) -> tuple[nn.Module, Any]:
    """A model in float32 and its tokenizer. ``kind``: the config -> the class of transformers that loads it; ``more``:
    what else that is told. Raises ModelError that names the ``setting``."""
    options: dict[str, Any] = {"trust_remote_code": False}
    if source == name and revision:
        options["revision"] = revision
    try:
        config = AutoConfig.from_pretrained(source, **options)
        model, info = kind(config).from_pretrained(
            source, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **more(config), **options
        )
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        tokenizer.truncation_side = "right"  # else a long text comes in windows from its end, most of them lost
    except (OSError, ValueError, KeyError, ImportError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"The base model {name} cannot be loaded: {first}",
            f"Check {setting}: a hub name (the hub must be reachable once), a folder, or an installed package that "
            "carries safetensors, all of them (`git lfs pull`).",
        ) from error
    if set(tokenizer.get_vocab()) <= {*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens}:
        # transformers makes such a tokenizer where there are no files of one
        raise ModelError(
            f"{name} has no tokenizer, or an empty one.", "Save it beside the model, with save_pretrained."
        )
    if missing := sorted(info["missing_keys"]):
        raise ModelError(f"{name} lacks weights, {missing[0]} and {len(missing) - 1} more: they would be random.")
    return model, tokenizer


def _check_encoder(spec: ModelSpec, config: Any) -> None:
    if getattr(config, "is_encoder_decoder", False) or not hasattr(config, "hidden_size"):
        raise ModelError(f"{spec.name} is a {config.model_type} model, not an encoder.", "Choose another BASE_MODEL.")


def _no_pooler(config: Any) -> dict[str, bool]:
    """The option that leaves the pooler out, for classes that have one: its weights may be missing, and are unused."""
    classes = MODEL_MAPPING.get(type(config), None)
    first = classes[0] if isinstance(classes, tuple) else classes
    has_pooler = first is not None and "add_pooling_layer" in inspect.signature(first.__init__).parameters
    return {"add_pooling_layer": False} if has_pooler else {}


def fingerprint(model: nn.Module, read: Sequence[Any]) -> str:
    """16 hex digits of the architecture, a sample of every weight, and how texts are ``read``, as JSON values."""
    digest = hashlib.sha256()
    digest.update(json.dumps([type(model).__name__, *read]).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().reshape(-1)
        sample = flat[:: max(1, flat.numel() // SAMPLES)]
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(sample.to(torch.float32).numpy().tobytes())
    return digest.hexdigest()[:16]
