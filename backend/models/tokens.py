"""Texts as a model reads them: token ids, windows of long texts, and batches."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.errors import ModelError
from backend.models.spec import ModelSpec


@dataclass(frozen=True)
class Window:
    """A piece of a text as the model reads it. ``ids``: T token ids; ``offsets`` (T, 2): where each token's characters
    begin and end in the text (Unicode code points), (-1, -1) for tokens that are none of the text."""

    ids: list[int]
    offsets: NDArray[np.int64]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which tokens are of the text, (T,)."""
        return self.offsets[:, 0] >= 0


@dataclass(frozen=True)
class Tokens:
    """Token ids of texts, not padded; shared by an encoder and all its adapted copies."""

    tokenizer: Any
    prefix: str
    max_tokens: int
    pad: int
    lock: Any

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """One list of token ids for each text, cut at ``max_tokens``, at least one token each."""
        prefixed = [self.prefix + text for text in texts]
        with self.lock:  # the tokenizer's truncation is state
            encoded = self.tokenizer(
                prefixed, truncation=True, max_length=self.max_tokens, return_attention_mask=False, verbose=False
            )
        return [ids or [self.pad] for ids in encoded["input_ids"]]

    def windows(self, text: str, *, before: str | None = None, stride: int = 32) -> list[Window]:
        """A text in pieces of at most ``max_tokens`` tokens, ``stride`` of which are in the next one too; at least one.

        ``before``: a question that stands before each piece, cut where it would take more than half of it. Raises
        ModelError for a tokenizer that tells no offsets.
        """
        if not self.tokenizer.is_fast:
            raise ModelError("The base model's tokenizer tells no character offsets.", "Choose another BASE_MODEL.")
        texts = (self.prefix + text,) if before is None else (self._short(self.prefix + before), text)
        shift = len(self.prefix) if before is None else 0
        with self.lock:  # the tokenizer's truncation is state
            encoded = self.tokenizer(
                *texts,
                truncation=True if before is None else "only_second",
                max_length=self.max_tokens,
                stride=min(stride, self.max_tokens // 4),
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
        sequence = 0 if before is None else 1
        found = []
        for at, ids in enumerate(encoded["input_ids"]):
            offsets: NDArray[np.int64] = np.array(encoded["offset_mapping"][at], np.int64).reshape(-1, 2) - shift
            own = np.array([s == sequence for s in encoded.sequence_ids(at)], bool)
            real = own & (offsets[:, 1] > np.maximum(offsets[:, 0], 0))
            offsets = np.where(real[:, None], np.maximum(offsets, 0), -1)
            found.append(Window(list(ids) or [self.pad], offsets if len(ids) else np.full((1, 2), -1, np.int64)))
        return found

    def _short(self, question: str) -> str:
        """The beginning of a text that takes at most half of what the model reads."""
        with self.lock:
            encoded = self.tokenizer(
                question, truncation=False, add_special_tokens=False, return_offsets_mapping=True, verbose=False
            )
        offsets = encoded["offset_mapping"]
        half = self.max_tokens // 2
        return question if len(offsets) <= half else question[: offsets[half - 1][1]]

    def batch(self, ids: Sequence[Sequence[int]], device: torch.device) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, (B, T) with T the longest."""
        longest = max(map(len, ids))
        padded = torch.full((len(ids), longest), self.pad, dtype=torch.long)
        mask = torch.zeros((len(ids), longest), dtype=torch.long)
        for row, one in enumerate(ids):
            padded[row, : len(one)] = torch.tensor(one, dtype=torch.long)
            mask[row, : len(one)] = 1
        return {"input_ids": padded.to(device), "attention_mask": mask.to(device)}


def tokens_of(spec: ModelSpec, tokenizer: Any, model: nn.Module) -> Tokens:
    """How a model with this tokenizer reads texts."""
    pad = filling(model, tokenizer.pad_token_id, tokenizer.eos_token_id)
    longest = min(spec.max_tokens, tokenizer.model_max_length, _positions(model))
    return Tokens(tokenizer, spec.text_prefix, int(longest), pad, threading.Lock())


def _positions(model: nn.Module) -> int:
    """How many tokens the model can tell apart; RoBERTa's first positions are not for tokens, nor MRA's last ones."""
    told = places(model.config)
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and hasattr(module, "padding_idx"):
            first = 0 if module.padding_idx is None else module.padding_idx + 1
            return min(told, len(module.weight) - first)
    return told


def places(config: Any) -> int:
    """Tokens that have a place, by the config; 2**31 where it names none, or as many as there are (XLNet: -1)."""
    told = int(getattr(config, "max_position_embeddings", None) or 0)
    return told if told > 0 else 2**31


def known_tokens(model: Any) -> int:
    """Ids below which the model knows every token; 2**31 where it has no table of them (CANINE)."""
    try:
        return len(model.get_input_embeddings().weight)
    except (AttributeError, NotImplementedError):
        return 2**31


def filling(model: nn.Module, *ids: int | None) -> int:
    """The first of these tokens that the model knows, to fill batches up with. It is masked, so that any other does."""
    known = known_tokens(model)
    return next((token for token in ids if token is not None and token < known), 0)
