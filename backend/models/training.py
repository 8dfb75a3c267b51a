"""LoRA training of an encoder with one or more heads. The heads' meaning comes in as a loss function.

Recipe: adapter on all linear layers, head initialised from a linear head on frozen features (LP-FT, Kumar et al.,
Fine-Tuning can Distort Pretrained Features, 2022), warm-up and linear decay over a number of updates, which ends early
where the loss no longer falls. Updates rather than epochs, because few labels need as many steps as many do (Mosbach
et al., On the Stability of Fine-tuning BERT, 2021). A contrastive loss pulls examples of one class together: with few
labels it is worth more than any other number of the recipe.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.models.batching import padded, portions
from backend.models.device import autocast, free_memory, out_of_memory
from backend.models.encoder import Encoder, last_hidden, mean_pooled, share, without_alias_warning
from backend.models.recipe import Recipe
from backend.models.schedule import Schedule
from backend.telemetry import logger

if TYPE_CHECKING:
    from backend.models.generator import Generator

Floats = NDArray[np.float32]
Loss = Callable[[Tensor, NDArray[np.int64]], Tensor]
Progress = Callable[[int, int, float], None]

log = logger("training")

# In memory at once, since a CPU's does not run out with an error: the system kills the process. Few are faster, too;
# more where examples are compared with each other.
CPU_TOKENS, CPU_TOKENS_COMPARED = 1024, 4096

GROUP = (4, 16)  # updates, at least and at most, whose examples are sorted by length


@dataclass(frozen=True)
class HeadTask:
    """What one head learns of N examples, and where it starts.

    ``sequences``: the token ids that it reads of each example, as lists; none where the example teaches it nothing.
    ``loss``: logits, and which examples they are of (B,), to losses (B,). The logits are (S, K) of all sequences of
    these examples in their order, pooled; with ``tokens`` they are (S, T, K), of each token, padding included.
    Examples with the same number in ``groups`` (N,) are alike for the contrastive loss on their first sequence; those
    with -1 are left out of it. ``weights`` (N,): how much the loss of each counts; None is 1 for all.
    """

    start: LinearHead
    sequences: Sequence[Sequence[Sequence[int]]]
    loss: Loss
    groups: NDArray[np.int64]
    tokens: bool = False
    weights: Floats | None = None

    def __len__(self) -> int:
        return len(self.sequences)


@dataclass(frozen=True)
class Trained:
    """The result: ``save`` writes the adapter into a folder; the heads by name; the mean loss of the last updates; how
    many updates there were."""

    save: Callable[[Path], None]
    heads: Mapping[str, LinearHead]
    loss: float
    steps: int


@dataclass(frozen=True)
class Former:
    """A version that a new one is averaged with: the weights of its adapter, which began as the new one did, its heads,
    and which share of the average, in [0, 1), is its."""

    adapter: Mapping[str, Tensor]
    heads: Mapping[str, LinearHead]
    share: float


def train_adapter(
    encoder: Encoder,
    tasks: Mapping[str, HeadTask],
    recipe: Recipe,
    on_progress: Progress,
    start: Path | None = None,
    former: Former | None = None,
) -> Trained:
    """An adapter and heads trained on the examples of ``tasks``, N in each. The encoder itself stays as it is.

    A sequence that several heads read of an example goes through the encoder once.
    ``start``: the folder of an adapter of the same base and rank that this one starts near (``recipe.warm_start``).
    ``former``: what the result is averaged with.
    ``on_progress(step, steps, loss)`` is called after each update; ``steps`` falls where a plateau is seen. An update
    whose examples do not fit into memory at once (``train_tokens`` of the encoder's spec) is made in portions; lack of
    memory makes these smaller. It is the same update, but the contrastive loss compares within each portion. Raises
    ModelError where that does not help or the loss is not finite.
    """
    torch.manual_seed(recipe.seed)
    model = attach(encoder, recipe)
    if start is not None:
        blend(model, adapter_weights(start), recipe.warm_start)
    heads = {name: _torch_head(task.start, encoder.device) for name, task in tasks.items()}
    run = _Run(encoder, model, heads, tasks, _Read.of(tasks), recipe, warm=start is not None)
    losses = run.descend(on_progress)
    trained = {name: _linear_head(head, tasks[name].start) for name, head in heads.items()}
    if former is not None:
        blend(model, former.adapter, former.share)
        trained = {name: head.moved(former.heads[name], former.share) for name, head in trained.items()}

    def save(folder: Path) -> None:
        model.save_pretrained(str(folder), safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # a template of peft without content

    return Trained(save, trained, float(np.mean(losses[-20:])), len(losses))


@dataclass(frozen=True)
class _Read:
    """The distinct sequences of each example, and which of them each task reads (positions among these)."""

    sequences: list[list[Sequence[int]]]
    used: Mapping[str, list[list[int]]]

    @classmethod
    def of(cls, tasks: Mapping[str, HeadTask]) -> "_Read":
        (n,) = {len(task) for task in tasks.values()}
        sequences: list[list[Sequence[int]]] = [[] for _ in range(n)]
        used: dict[str, list[list[int]]] = {name: [[] for _ in range(n)] for name in tasks}
        for name, task in tasks.items():
            for example, wanted in enumerate(task.sequences):
                for ids in wanted:
                    if ids not in sequences[example]:
                        sequences[example].append(ids)
                    used[name][example].append(sequences[example].index(ids))
        return cls(sequences, used)

    def tokens(self) -> list[list[int]]:
        """Tokens of each example's sequences."""
        return [list(map(len, sequences)) for sequences in self.sequences]


def draws(lengths: Sequence[int], recipe: Recipe) -> Iterator[NDArray[np.int64]]:
    """Positions of the examples of each update, ``recipe.steps`` times.

    Shuffled passes through all examples, one behind the other. A pass, or a number of updates within ``GROUP``, is cut
    into batches by length, which saves three quarters of the padding.
    """
    rng = np.random.default_rng(recipe.seed)
    size = min(recipe.batch_size, len(lengths))
    updates = int(np.clip(len(lengths) // size, *GROUP))
    by_length = np.argsort(np.argsort(lengths, kind="stable"))
    waiting: NDArray[np.int64] = np.zeros(0, np.int64)
    for step in range(recipe.steps):
        if step % updates == 0:
            while len(waiting) < size * updates:
                waiting = np.concatenate([waiting, rng.permutation(len(lengths))])
            group, waiting = waiting[: size * updates], waiting[size * updates :]
            group = group[np.argsort(by_length[group], kind="stable")].reshape(updates, size)
            order = rng.permutation(updates)
        yield group[order[step % updates]]


def attach(base: "Encoder | Generator", recipe: Recipe) -> Any:
    """A peft model on a copy of the base model, ready to be trained; only the adapter has gradients."""
    from peft import LoraConfig, get_peft_model

    model = share(base.model)
    model.config._name_or_path = base.spec.name  # type: ignore[union-attr]
    layers = linear_layers(model)
    if not layers:
        raise ModelError(f"{base.spec.name} has no linear layers that an adapter could go to.")
    config = LoraConfig(
        r=recipe.lora_rank,
        lora_alpha=int(recipe.lora_alpha_ratio * recipe.lora_rank),
        lora_dropout=0.0,  # the model's own dropout is enough; theirs costs a third of the update
        target_modules=list(layers),
        fan_in_fan_out=any(isinstance(layer, Conv1D) for layer in layers.values()),
        bias="none",
    )
    with without_alias_warning():
        return get_peft_model(model, config).train()


def room_of(base: "Encoder | Generator", *, compared: bool = False) -> float:
    """How many tokens (padding counted) a training of this model has in memory at once. ``compared``: whether its
    examples are compared with each other."""
    usual = CPU_TOKENS_COMPARED if compared else CPU_TOKENS
    return base.spec.train_tokens or (usual if base.device.type == "cpu" else math.inf)


def adapter_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of the adapter in a folder, by name. Raises ModelError where they cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"The adapter in {folder} cannot be read: {error}", "Set WARM_START=0 once.") from error


def blend(model: Any, weights: Mapping[str, Tensor], share: float) -> None:
    """Move an adapter's weights ``share`` of the way to those given; 1 is all the way.

    Of an untrained one the old weights shrink and the fresh ones are the noise (shrink and perturb: Ash and Adams, On
    Warm-Starting Neural Network Training, 2020); of a trained one both are averaged. Raises ModelError for an adapter
    of other layers or another rank.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    own: dict[str, Tensor] = get_peft_model_state_dict(model)
    if {n: t.shape for n, t in weights.items()} != {n: t.shape for n, t in own.items()}:
        raise ModelError("The adapter before has other layers or another rank.", "Set WARM_START=0 once.")
    mixed = {n: share * weights[n].to(t.device) + (1 - share) * t.detach() for n, t in own.items()}
    set_peft_model_state_dict(model, mixed)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """All linear layers of attention and MLP by their full names, those of GPT-2 and its kin (Conv1D) too; poolers and
    what gives tokens their logits are not among them."""
    logits = getattr(model, "get_output_embeddings", lambda: None)()
    linear = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and m is not logits}
    return {n: m for n, m in linear.items() if "pooler" not in n.split(".")}


def contrast(features: Tensor, groups: Tensor, temperature: float) -> Tensor:
    """How much nearer other examples are than those of the same group, in nats, low = well separated; a scalar.

    ``features`` (B, D), ``groups`` (B,), -1 for none. 0 where no two examples share a group. Khosla et al., Supervised
    Contrastive Learning, 2020; beside cross entropy with few labels: Gunel et al., 2021.
    """
    features, groups = features[groups >= 0], groups[groups >= 0]
    itself = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    same = (groups[:, None] == groups) & ~itself  # (B, B)
    paired = same.any(dim=1)
    if not bool(paired.any()):
        return features.sum() * 0.0
    directions = nn.functional.normalize(features, dim=1)
    similarity = (directions @ directions.T / temperature).masked_fill(itself, -1e9)
    nearness = torch.log_softmax(similarity, dim=1).masked_fill(~same, 0.0)
    return -(nearness.sum(dim=1)[paired] / same.sum(dim=1)[paired]).mean()


class Descent(ABC):
    """One training: its schedule, optimiser, and how many tokens fit into memory.

    ``groups``: parameters with their peak rates, as optimisers take them; ``tokens`` of each sequence of each example;
    ``room``: how many, padding counted, are in memory at once. ``length_setting`` and ``rate_setting`` are what a user
    changes where there are too many, or the loss is lost. Examples without a sequence are not drawn: updates of nothing
    else would change nothing, and their loss of 0 would look like something learned.
    """

    length_setting, rate_setting = "MAX_TOKENS", "LEARNING_RATE"

    def __init__(
        self, groups: list[dict[str, Any]], recipe: Recipe, tokens: Sequence[Sequence[int]], *, room: float, warm: bool
    ) -> None:
        self.recipe, self.tokens, self.room = recipe, tokens, room
        taught = [row for row, sequences in enumerate(tokens) if sequences]
        self.rows = np.array(taught or range(len(tokens)), np.int64)  # those that are drawn
        self.plan = Schedule(recipe, len(self.rows), warm=warm)
        self.trained = [p for group in groups for p in group["params"]]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self.plan.rate)

    @abstractmethod
    def _portion(self, rows: NDArray[np.int64], n: int) -> float:
        """Add the gradients of some rows of a batch of ``n``; their share of its loss."""

    def descend(self, on_progress: Progress) -> list[float]:
        """The losses of all updates. Raises ModelError where one is not finite."""
        losses: list[float] = []
        lengths = [sum(self.tokens[row]) for row in self.rows]
        for step, batch in enumerate(draws(lengths, self.recipe), start=1):
            losses.append(self.update(self.rows[batch]))
            if not np.isfinite(losses[-1]):
                raise ModelError(f"The loss is {losses[-1]} at step {step}.", f"Lower {self.rate_setting}.")
            on_progress(step, self.plan.end, losses[-1])
            if step == self.plan.end:
                break
        return losses

    def update(self, batch: NDArray[np.int64]) -> float:
        """One update; its mean loss over examples and heads."""
        loss = self._gradients(batch)
        self.plan.note(loss)
        torch.nn.utils.clip_grad_norm_(self.trained, self.recipe.clip)
        self.optimizer.step()
        self.schedule.step()
        return loss

    def _gradients(self, batch: NDArray[np.int64]) -> float:
        """Gradients of the whole batch, in portions that fit; again with smaller ones where memory runs out."""
        tokens = [self.tokens[row] for row in batch]
        parts = portions(tokens, self.room)
        try:
            self.optimizer.zero_grad(set_to_none=True)
            return sum(self._portion(batch[part], len(batch)) for part in parts)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
        if len(parts) == len(batch):
            raise ModelError("No memory for training on one example at a time.", f"Lower {self.length_setting}.")
        free_memory()
        self.room = min(self.room, max(padded(tokens[part]) for part in parts)) / 2
        log.warning("out of memory: fewer examples at once, the same update", tokens=int(self.room))
        return self._gradients(batch)


class _Run(Descent):
    """The state of one training: model, heads, and what they read."""

    def __init__(
        self,
        encoder: Encoder,
        model: Any,
        heads: Mapping[str, nn.Linear],
        tasks: Mapping[str, HeadTask],
        read: _Read,
        recipe: Recipe,
        *,
        warm: bool = False,
    ) -> None:
        self.encoder, self.model, self.heads, self.tasks, self.read = encoder, model, heads, tasks, read
        self.dropout = nn.Dropout(recipe.dropout)
        adapter = [p for p in model.parameters() if p.requires_grad]
        head = [p for h in heads.values() for p in h.parameters()]
        groups: list[dict[str, Any]] = [
            {"params": adapter, "lr": recipe.learning_rate},
            {"params": head, "lr": recipe.learning_rate * recipe.head_lr_ratio},
        ]
        compared = recipe.contrast > 0 and any((task.groups >= 0).any() for task in tasks.values())
        super().__init__(groups, recipe, read.tokens(), room=room_of(encoder, compared=compared), warm=warm)
        self.groups = {n: torch.from_numpy(t.groups).to(encoder.device) for n, t in tasks.items()}

    def _portion(self, rows: NDArray[np.int64], n: int) -> float:
        device = self.encoder.device
        sequences = [ids for row in rows for ids in self.read.sequences[row]]
        first = np.cumsum([0, *(len(self.read.sequences[row]) for row in rows)])  # of each row among the sequences
        total = torch.zeros((), device=device, requires_grad=True)
        if not sequences:
            return 0.0
        batch = self.encoder.tokens.batch(sequences, device)
        with autocast(device):
            hidden = last_hidden(self.model, batch)  # (S, T, D)
        features = mean_pooled(hidden, batch["attention_mask"])  # (S, D)
        for name, task in self.tasks.items():
            used = self.read.used[name]
            there = np.array([at for at, row in enumerate(rows) if used[row]], np.int64)
            if not len(there):
                continue
            own = torch.tensor([first[at] + s for at in there for s in used[rows[at]]], device=device)
            seen = hidden[own] if task.tokens else features[own]
            losses = task.loss(self.heads[name](self.dropout(seen)), rows[there])  # (B,)
            if task.weights is not None:
                losses = losses * torch.from_numpy(task.weights[rows[there]]).to(device)
            total = total + losses.sum() / n
            if self.recipe.contrast:
                leading = torch.tensor([first[at] + used[rows[at]][0] for at in there], device=device)
                groups = self.groups[name][torch.from_numpy(rows[there]).to(device)]
                apart = contrast(features[leading], groups, self.recipe.contrast_temperature)
                total = total + self.recipe.contrast * apart * len(there) / n
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()


def _torch_head(head: LinearHead, device: torch.device) -> nn.Linear:
    k, d = head.weight.shape
    layer = nn.Linear(d, k)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(head.weight))
        layer.bias.copy_(torch.from_numpy(head.bias))
    return layer.to(device)


def _linear_head(layer: nn.Linear, start: LinearHead) -> LinearHead:
    """The trained head, with what the problem keeps beside the one that it started from."""
    weight, bias = (p.detach().float().cpu().numpy() for p in (layer.weight, layer.bias))
    return LinearHead(weight, bias, extra=start.extra)
