"""What problems have in common whose head reads one vector for each text: it is refitted in a fraction of a second.

The columns that are kept for a task are the features of its texts, so a fresh head needs no model.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.problems.common import Common
from backend.problems.schema import Control, Example, Floats, Item, Output

if TYPE_CHECKING:
    from torch import Tensor

    from backend.models.encoder import Encoder
    from backend.models.training import HeadTask


class Pooled(Common, ABC):
    """Half of :class:`backend.problems.base.Problem`; what differs from kind to kind is abstract here."""

    fast = True

    # ------------------------------------------------------------------------------------------------- what is read
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """The texts of an item that are embedded, always as many for one control."""
        return ("\n".join(item.fields[name].text for name in control.fields),)

    def width(self, control: Control, dim: int) -> int:
        """Columns kept for each task, for features of size ``dim``."""
        return dim

    def read(self, control: Control, head: LinearHead, model: "Encoder", items: Sequence[Item]) -> Floats:
        """Columns (N, W) of items."""
        texts = [text for item in items for text in self.texts(control, item)]
        return model.embed(texts).reshape(len(items), self.width(control, model.dim))

    def columns(self, control: Control, head: LinearHead, reading: Floats) -> Floats:
        return reading

    @abstractmethod
    def outputs(self, control: Control, head: LinearHead, reading: Floats) -> list[Output]:
        """What the head says of columns (N, W)."""

    @abstractmethod
    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Probabilities (N, K) whose margin is the worth of a label."""

    # ---------------------------------------------------------------------------------------------------- the head
    @abstractmethod
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Any], *, seed: int) -> LinearHead:
        """The head fitted to columns (N, W), in a fraction of a second."""

    @abstractmethod
    def loss(self, control: Control, targets: Sequence[Any], smoothing: float) -> "Callable[[Tensor, Tensor], Tensor]":
        """The training loss: logits (B, …) and a batch of :meth:`target_array` to losses (B,)."""

    @abstractmethod
    def target_array(self, control: Control, targets: Sequence[Any]) -> Floats:
        """Targets as one array (N, …)."""

    @abstractmethod
    def calibrated_on(self, control: Control, head: LinearHead, columns: Floats, targets: Sequence[Any]) -> LinearHead:
        """The head with its probabilities made honest on held-out columns (N, W) and targets; N may be 0."""

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """Which examples are alike (N,), for targets (N, …): equal numbers; -1 is like no other."""
        return np.full(len(targets), -1, np.int64)

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Any]],
        held_out: tuple[Floats, Sequence[Any]],
        *,
        seed: int,
    ) -> LinearHead:
        """:meth:`fit_head`, with honest probabilities; held-out ones (M may be 0) only serve for those."""
        return self.calibrated_on(control, self.fit_head(control, *train, seed=seed), *held_out)

    def calibrated(
        self, control: Control, head: LinearHead, model: "Encoder", examples: Sequence[Example]
    ) -> LinearHead:
        columns = self.read(control, head, model, [e.item for e in examples])
        return self.calibrated_on(control, head, columns, [e.targets[control.name] for e in examples])

    def combined(self, logits: "Tensor") -> "Tensor":
        """Logits (B, …) of the examples from those of their texts (B, texts, K); by default there is one text."""
        return logits[:, 0]

    def head_task(
        self, control: Control, model: "Encoder", examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask":
        import torch

        from backend.models.training import HeadTask

        present = np.array([control.name in e.targets for e in examples], bool)
        there = [e for e in examples if control.name in e.targets]
        wanted = [e.targets[control.name] for e in there]
        given = np.array([e.weight == 1 for e in there], bool)  # by annotators: what a model guessed starts no head
        known = [target for target, sure in zip(wanted, given, strict=True) if sure]
        blank = LinearHead(np.zeros((1, model.dim), np.float32), np.zeros(1, np.float32))
        columns = self.read(control, blank, model, [e.item for e in there])
        array = self.target_array(control, wanted)
        rows = np.cumsum(present) - 1  # of an example in ``array``
        loss, targets = self.loss(control, known, smoothing), torch.from_numpy(array)
        groups = np.full(len(examples), -1, np.int64)
        groups[present] = np.where(given, self.groups(array), -1)

        def task_loss(logits: "Tensor", batch: NDArray[np.int64]) -> "Tensor":
            by_example = self.combined(logits.reshape(len(batch), -1, logits.shape[-1]))
            return loss(by_example, targets[rows[batch]].to(logits.device))

        return HeadTask(
            start=self.fit_head(control, columns[given], known, seed=seed),
            sequences=[
                model.tokens.ids(self.texts(control, e.item)) if control.name in e.targets else [] for e in examples
            ],
            loss=task_loss,
            groups=groups,
        )

    # ---------------------------------------------------------------------------------------------------- targets
    def labels_in(self, target: Any) -> frozenset[int]:
        """Positions of the labels with a share in the target."""
        return frozenset(np.flatnonzero(np.asarray(target) > 0).tolist())

    def target_json(self, target: Any) -> Any:
        return [round(float(x), 6) for x in np.asarray(target).ravel()]

    def target_from_json(self, value: Any) -> Any:
        return np.array(value, np.float32)
