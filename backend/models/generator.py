"""A pretrained model that writes: prompts to texts, causal or sequence-to-sequence, with or without an adapter."""

import copy
import hashlib
import inspect
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, GenerationConfig

from backend.errors import ModelError
from backend.models.batching import batches
from backend.models.device import autocast, cores, in_halves, pick_device
from backend.models.encoder import adapter_digest, fingerprint, merged, quiet_loading, read_pretrained
from backend.models.spec import TextSpec, resolve
from backend.models.tokens import filling, known_tokens, places

TEXTS = "texts.json"
TOKENS = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id", "bad_words_ids")
DRAW = 0  # the seed of what is drawn
DRAWING = threading.Lock()  # torch's random numbers are one sequence for all threads

Pair = tuple[list[int], list[int]]  # token ids of a prompt, as the model reads it, and of a text


@dataclass(frozen=True)
class Written:
    """A text, and the mean log-probability of its tokens, its end among them, in nats, at most 0.

    ``drawn``: what else the model might have written there, ``samples`` of its spec.
    """

    text: str
    logp: float
    drawn: tuple[str, ...] = ()


class Generator:
    """What writes texts. It remembers what it wrote; :meth:`within` bounds how long it writes.

    ``base_id``: 16 hex digits that name weights, template and cut; ``template``: the prompt of controls without one.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, spec: TextSpec, base_id: str, lock: Any = None) -> None:
        self.model, self.tokenizer, self.spec, self.base_id = model, tokenizer, spec, base_id
        self.template = spec.prompt
        self.device = next(model.parameters()).device
        config: Any = model.config
        self.paired = bool(config.is_encoder_decoder)  # an encoder for the prompt, a decoder for the text
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.ends = _ends(model, tokenizer)
        if not self.ends:
            raise ModelError(f"{spec.name} has no token that ends a text.", "Choose another TEXT_MODEL.")
        model.generation_config = _plain(model.generation_config)  # type: ignore[assignment,arg-type]
        if getattr(tokenizer, "tgt_lang", "") is None:  # M2M100's would not read a text without one
            tokenizer.tgt_lang = tokenizer.src_lang
        first = _first_token(model)
        if self.paired and first is None:
            raise ModelError(f"{spec.name} has no token that a text begins with.", "Choose another TEXT_MODEL.")
        self.start = first or 0  # what a decoder with an encoder reads first
        self.pad = filling(model, tokenizer.pad_token_id, self.ends[0])
        self.longest = _longest(tokenizer, config) - (0 if self.paired else spec.max_new_tokens)
        written = places(config) if self.paired else self.longest + spec.max_new_tokens
        if written <= spec.max_new_tokens:
            raise ModelError(f"{spec.name} cannot write {spec.max_new_tokens} tokens.", "Lower TEXT_MAX_NEW_TOKENS.")
        self.longest = min(self.longest, spec.max_tokens)
        self._lock = lock or threading.Lock()  # a tokenizer's truncation is state
        self._memory: dict[str, list[Written]] = {}
        self._deadline: float | None = None

    @classmethod
    def load(cls, spec: TextSpec) -> "Generator":
        """The generator in memory, on its device. Raises ModelError that says why it cannot be loaded."""
        torch.set_num_threads(spec.threads or cores())
        source = resolve(spec.name, "TEXT_MODEL")
        with quiet_loading():
            model, tokenizer = read_pretrained(spec.name, spec.revision, source, "TEXT_MODEL", _kind)
        base_id = fingerprint(model, [spec.prompt, spec.max_tokens, len(tokenizer)])
        model.to(pick_device(spec.device)).eval().requires_grad_(False)
        if not model.config.is_encoder_decoder and _looks_ahead(model):  # type: ignore[union-attr]
            raise ModelError(
                f"{spec.name} does not write: it reads a text from both sides.", "Choose another TEXT_MODEL."
            )
        return cls(model, tokenizer, spec, base_id)

    def adapted(self, directory: Path) -> "Generator":
        """This generator with the adapter in ``directory`` merged in, as :meth:`Encoder.adapted` does it. It remembers
        what :meth:`save_texts` left there. Raises ModelError for an adapter that does not fit."""
        model = merged(self.model, directory, self.spec.name)
        base_id = adapter_digest(self.base_id, directory)
        found = Generator(model, self.tokenizer, self.spec, base_id, self._lock)
        if (directory / TEXTS).exists():
            known = json.loads((directory / TEXTS).read_text())
            found._memory = {key: [_remembered(*one) for one in texts] for key, texts in known.items()}
        return found

    def save_texts(self, directory: Path) -> None:
        """Keep what this generator wrote beside its adapter."""
        known = {key: [(w.text, w.logp, w.drawn) for w in texts] for key, texts in self._memory.items()}
        (directory / TEXTS).write_text(json.dumps(known))

    def within(self, seconds: float) -> "Generator":
        """The same generator, sharing its memory, for so long from now; with 0 it writes nothing, but remembers."""
        found = copy.copy(self)
        found._deadline = time.monotonic() + seconds if seconds > 0 else 0.0
        return found

    # ------------------------------------------------------------------------------------------------------- writing
    def write(self, prompts: Sequence[str]) -> list[list[Written] | None]:
        """``spec.candidates`` texts for each prompt, best first: fewer where some are empty or alike, none at all where
        all are. None where there was no time to write."""
        keys = [self._key(prompt) for prompt in prompts]
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._memory}
        if missing and not self._late():
            self._write_missing(missing)
        return [self._memory.get(key) for key in keys]

    def _write_missing(self, missing: dict[str, str]) -> None:
        wanted, ids = list(missing), [self.source(prompt) for prompt in missing.values()]
        side_by_side = max(self.spec.beams, self.spec.candidates, self.spec.samples)
        lengths = [(len(one) + self.spec.max_new_tokens) * side_by_side for one in ids]
        for batch in batches(lengths, self.spec.batch_tokens):
            if self._late():
                return
            written = in_halves([ids[at] for at in batch], self._continue, self._no_memory)
            self._memory.update(
                {wanted[at]: texts for at, texts in zip(batch, written, strict=True) if texts is not None}
            )

    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _key(self, prompt: str) -> str:
        """What names a prompt and all that changes what is written of it."""
        spec = self.spec
        drawn = [spec.samples] if spec.samples else []  # what versions wrote before there were any keeps its name
        asked = json.dumps([self.base_id, spec.max_new_tokens, spec.candidates, spec.beams, *drawn, prompt])
        return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()

    def _continue(self, sources: Sequence[list[int]]) -> list[list[Written] | None]:
        """The texts of one batch of prompts, B of them; None for those that were not finished in time."""
        found: list[list[list[int]] | None] = self._search(sources, self._how())
        drawn: list[list[list[int]] | None] = [[] for _ in sources]
        if self.spec.samples and any(found):
            with DRAWING, torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                torch.manual_seed(DRAW)  # the same prompts, the same texts
                drawn = self._search(sources, self._how(self.spec.samples))
        texts = [None if others is None else one for one, others in zip(found, drawn, strict=True)]
        pairs = [(source, text) for source, one in zip(sources, texts, strict=True) for text in one or ()]
        logps = iter(self._logps(pairs) if pairs else ())
        return [
            None if one is None else _distinct([Written(self._read(t), next(logps), self._texts(others)) for t in one])
            for one, others in zip(texts, drawn, strict=True)
        ]

    def _search(self, sources: Sequence[list[int]], how: Any) -> list[list[list[int]] | None]:
        """Tokens of the texts of each prompt; None where one was not finished in time."""
        ids, mask = self._filled(sources, self.pad, left=not self.paired)  # a text goes on at the prompt's end
        with torch.inference_mode(), autocast(self.device):
            found: Tensor = self.model.generate(input_ids=ids, attention_mask=mask, generation_config=how)  # type: ignore[operator]
        rows = found[:, 1 if self.paired else ids.shape[1] :].tolist()
        cut = [self._until_end(row) for row in rows]
        done = [len(text) >= self.spec.max_new_tokens or text[-1] in self.ends for text in cut]
        groups = zip(_groups(cut, how.num_return_sequences), _groups(done, how.num_return_sequences), strict=True)
        return [list(texts) if all(finished) else None for texts, finished in groups]

    def _how(self, draws: int = 0) -> Any:
        """How a text is searched for: the most probable token each time, or beams; or so many are drawn at random, as
        probable as the model thinks them."""
        how = copy.deepcopy(self.model.generation_config)
        left = None if self._deadline is None else max(0.01, self._deadline - time.monotonic())
        changes = {
            "max_new_tokens": self.spec.max_new_tokens,
            "num_beams": 1 if draws else max(self.spec.beams, self.spec.candidates),
            "num_return_sequences": draws or self.spec.candidates,
            "do_sample": bool(draws),
            "top_k": 0 if draws else None,  # it would be 50
            "pad_token_id": self.pad,
            "eos_token_id": self.ends,
            "max_time": left,
        }
        for name, value in changes.items():
            setattr(how, name, value)
        return how

    def _until_end(self, ids: list[int]) -> list[int]:
        """The tokens of a text with its end, without what fills the batch."""
        for at, token in enumerate(ids):
            if token in self.ends:
                return ids[: at + 1]
        return ids

    def _texts(self, rows: Sequence[list[int]] | None) -> tuple[str, ...]:
        return tuple(self._read(ids) for ids in rows or ())

    def _read(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()

    # ------------------------------------------------------------------------------------------------------- scoring
    def score(self, prompts: Sequence[str], texts: Sequence[str]) -> NDArray[np.float64]:
        """The mean log-probability of the tokens of each text after its prompt, (N,), in nats, at most 0."""
        pairs = [(self.source(prompt), self.target(text)) for prompt, text in zip(prompts, texts, strict=True)]
        found = np.zeros(len(pairs))
        for batch in batches([len(a) + len(b) for a, b in pairs], self.spec.batch_tokens):
            found[batch] = in_halves([pairs[at] for at in batch], self._logps, self._no_memory)
        return found

    def _logps(self, pairs: Sequence[Pair]) -> list[float]:
        with torch.inference_mode(), autocast(self.device):
            logps, counted = self.likelihood(self.model, pairs)
        return list((logps.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).cpu().tolist())

    def likelihood(self, model: nn.Module, pairs: Sequence[Pair]) -> tuple[Tensor, Tensor]:
        """Log-probabilities (B, T) that a model, this one or one made of it, gives the tokens of the texts, 0 where
        there is none; and which are tokens of the texts, (B, T). What fills the batch is told by place, not by token:
        it may be the token that ends a text."""
        if self.paired:
            sources, mask = self._filled([source for source, _ in pairs], self.pad)
            labels, counted = self._filled([text for _, text in pairs], self.pad)
            start = torch.full_like(labels[:, :1], self.start)  # mBART would begin with the text's last token
            before = torch.cat([start, labels[:, :-1]], dim=1)
            logits = model(input_ids=sources, attention_mask=mask, decoder_input_ids=before).logits
        else:
            ids, mask = self._filled([source + text for source, text in pairs], self.pad)
            starts = torch.tensor([len(source) for source, _ in pairs], device=self.device)
            place = torch.arange(ids.shape[1], device=self.device)
            first = max(1, min(len(source) for source, _ in pairs))  # no text is before it
            kept = ids.shape[1] - first + 1  # places whose logits are of use: a vocabulary is large
            how = {"logits_to_keep": kept} if self._keeps else {}
            logits = model(input_ids=ids, attention_mask=mask, **how).logits[:, -kept:-1]
            labels, counted = ids[:, first:], (mask * (place >= starts[:, None]))[:, first:]
        logps = torch.log_softmax(logits.float(), dim=2).gather(2, labels.unsqueeze(2)).squeeze(2)
        return logps * counted, counted

    def _filled(self, rows: Sequence[list[int]], fill: int, *, left: bool = False) -> tuple[Tensor, Tensor]:
        """Ids (B, T) and which of them are real, (B, T); what fills them up is on the right, or on the left."""
        longest = max(map(len, rows))
        ids, mask = [], []
        for row in rows:
            empty = longest - len(row)
            ids.append([fill] * empty + row if left else row + [fill] * empty)
            mask.append([0] * empty + [1] * len(row) if left else [1] * len(row) + [0] * empty)
        return torch.tensor(ids, device=self.device), torch.tensor(mask, device=self.device)

    def _no_memory(self, row: Any) -> ModelError:
        return ModelError("No memory for one prompt and its text.", "Lower TEXT_MAX_TOKENS or TEXT_MAX_NEW_TOKENS.")

    # -------------------------------------------------------------------------------------------------------- tokens
    @property
    def _chats(self) -> bool:
        """Whether prompts are said in a chat template."""
        return not self.paired and bool(getattr(self.tokenizer, "chat_template", None))

    def with_draft(self, prompt: str, draft: str) -> str:
        """A prompt with a draft below it; of a long one the end is cut, so that the draft is read."""
        below = f"\n\n{draft}"
        frame = len(self._said("")) if self._chats else len(self._ids(""))
        room = max(1, self.longest - frame - len(self._ids(f"{below}\n", special=False)))
        ids = self._ids(prompt, special=False)
        return (prompt if len(ids) <= room else str(self.tokenizer.decode(ids[:room]))) + below

    def source(self, prompt: str) -> list[int]:
        """A prompt as the model reads it, in its chat template where it has one; a long one is cut at its end."""
        if not self._chats:
            ids = self._ids(prompt if self.paired else f"{prompt}\n", cut=self.longest)
            behind = (self.tokenizer.eos_token_id, self.tokenizer.sep_token_id)
            return ids[:-1] if ids and not self.paired and ids[-1] in behind else ids
        room = max(1, self.longest - len(self._said("")))
        inner = self._ids(prompt, special=False)
        return self._said(prompt if len(inner) <= room else str(self.tokenizer.decode(inner[:room])))

    def _said(self, prompt: str) -> list[int]:
        asked = [{"role": "user", "content": prompt}]
        with self._lock:
            return list(self.tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False))

    def target(self, text: str) -> list[int]:
        """A text as the model is to write it, with its end; of a longer one ``spec.max_new_tokens``, and no end."""
        if self.paired:
            with self._lock:
                ids = list(self.tokenizer(text_target=text, verbose=False)["input_ids"])
            ids = self._begun(ids)
        else:
            ids = self._ids(text, special=False)
        return [*ids, self.ends[0]][: self.spec.max_new_tokens]

    def _begun(self, ids: list[int]) -> list[int]:
        """A text from its tokenizer as the model writes it, without its end: a language before it, what ``generate``
        would begin with in any case in its place, and nothing that stands behind the end."""
        marks = {*self.tokenizer.all_special_ids} - {self.tokenizer.unk_token_id}
        first = next((at for at, token in enumerate(ids) if token not in marks), len(ids))
        forced = self.model.generation_config.forced_bos_token_id  # type: ignore[union-attr]
        before = [token for token in ids[:first] if token not in self.ends] if forced is None else [forced]
        text = self._until_end(ids[first:])
        return [*before, *(text[:-1] if text and text[-1] in self.ends else text)]

    def _ids(self, text: str, *, special: bool = True, cut: int | None = None) -> list[int]:
        how = {"truncation": True, "max_length": cut} if cut else {}
        with self._lock:
            return list(self.tokenizer(text, add_special_tokens=special, verbose=False, **how)["input_ids"])


def _longest(tokenizer: Any, config: Any) -> int:
    """Tokens that the model can read, or read and write where it does both in one."""
    return int(min(tokenizer.model_max_length, places(config)))


def _ends(model: Any, tokenizer: Any) -> list[int]:
    """The tokens that end a text, that of its tokenizer first; what stands between two texts where the model knows none
    of them: with another tokenizer than its first one, its config may name a token that it does not have."""
    stops, known = model.generation_config.eos_token_id, known_tokens(model)
    for ends in ([tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])], [tokenizer.sep_token_id]):
        if found := [end for end in ends if end is not None and end < known]:
            return found
    return []


def _looks_ahead(model: nn.Module) -> bool:
    """Whether what a model says at a token depends on those behind it: such a one would learn a text from itself."""
    token = known_tokens(model) // 2
    ids = torch.tensor([[token] * 4, [*[token] * 3, token - 1]], device=next(model.parameters()).device)
    with torch.inference_mode():
        logits: Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    change = (logits[0] - logits[1]).abs().amax(dim=1)  # (4,): at each token, where only the last one differs
    return bool(change[:-1].max() > 1e-4 * change[-1])  # less is rounding


def _plain(how: GenerationConfig) -> GenerationConfig:
    """Only the tokens of how a model is made to write: lengths, penalties and what it may not repeat are of what others
    trained it for, and forbid texts that it learns here."""
    return GenerationConfig(**{name: getattr(how, name) for name in TOKENS})  # type: ignore[no-untyped-call]


def _first_token(model: Any) -> int | None:
    """What the decoder reads before a text, as ``generate`` of transformers finds it."""
    how = model.generation_config
    found = how.bos_token_id if how.decoder_start_token_id is None else how.decoder_start_token_id
    return found if found is None else int(found)


def _kind(config: Any) -> Any:
    """The class of transformers that writes with such a model."""
    return AutoModelForSeq2SeqLM if getattr(config, "is_encoder_decoder", False) else AutoModelForCausalLM


def _remembered(text: str, logp: float, drawn: Sequence[str] = ()) -> Written:
    """What :meth:`Generator.save_texts` kept; former versions drew none."""
    return Written(text, logp, tuple(drawn))


def _groups(values: Sequence[Any], n: int) -> list[Sequence[Any]]:
    """The values, ``n`` at a time."""
    return [values[at : at + n] for at in range(0, len(values), n)]


def _distinct(texts: Sequence[Written]) -> list[Written]:
    """Those that are not empty, each once."""
    return list({w.text: w for w in reversed(texts) if w.text}.values())[::-1]
