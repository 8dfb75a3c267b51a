"""What a kind of control must be able to do. Whoever works with one asks :func:`problem_for` and knows no kind.

A further kind is one module with such a class and one entry in ``PROBLEMS``.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.errors import UnsupportedConfig
from backend.problems.choices import SingleChoice
from backend.problems.schema import Control, Example, Floats, Output

if TYPE_CHECKING:
    from torch import Tensor


class Problem(Protocol):
    """Targets, heads, loss, decoding and uncertainty of one kind of control. Stateless."""

    def targets_array(self, control: Control, examples: Sequence[Example]) -> tuple[Floats, NDArray[np.bool_]]:
        """Targets (N, …) of examples, and which of them have one, (N,); rows without one are zero."""

    def can_fit(self, control: Control, targets: Sequence[Floats]) -> bool:
        """Whether there is enough to learn from."""

    def fit_head(self, control: Control, features: Floats, targets: Sequence[Floats], *, seed: int) -> LinearHead:
        """The head fitted to features (N, D), in a fraction of a second."""

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Floats]],
        held_out: tuple[Floats, Sequence[Floats]],
        *,
        seed: int,
    ) -> LinearHead:
        """:meth:`fit_head` on features (N, D) and targets, with honest probabilities; held-out ones (M may be 0) only
        serve for those."""

    def zero_shot_head(self, control: Control, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """The head before there is any label, from what the labels are called."""

    def loss(self, targets: Floats, smoothing: float) -> "Callable[[Tensor, Tensor], Tensor]":
        """The training loss for these targets (N, …) as a whole: logits (B, K), targets (B, …) to losses (B,)."""

    def groups(self, targets: Floats) -> NDArray[np.int64]:
        """Which examples are alike (N,), for targets (N, …): equal numbers; -1 is like no other."""

    def calibrated(self, head: LinearHead, features: Floats, targets: Floats) -> LinearHead:
        """The head with its probabilities made honest on held-out features (N, D) and targets (N, …); N may be 0."""

    def outputs(self, head: LinearHead, features: Floats) -> list[Output]:
        """What the head says of features (N, D)."""

    def uncertainty(self, outputs: Sequence[Output]) -> NDArray[np.float64]:
        """How unsure each output is, (N,), in [0, 1], high = uncertain; 1 for outputs without an answer."""

    def hard_class(self, target: Floats) -> int:
        """The position of the target's first label."""

    def answer(self, output: Output) -> Floats | None:
        """What the output says as a target; None where it says nothing."""

    def kept(self, shown: Floats, given: Floats) -> bool:
        """Whether an annotator left the suggestion as it was; both are targets of one person."""

    def correct(self, output: Output, target: Floats) -> bool:
        """Whether the answer is right."""

    def reason(
        self, control: Control, output: Output, worth: float, *, pool_size: int, labelled: Sequence[Floats] = ()
    ) -> Mapping[str, Any]:
        """Why the task was picked, as JSON values; ``labelled``: the targets that the model learned from."""


PROBLEMS: dict[str, Problem] = {"choices": SingleChoice()}


def problem_for(control: Control) -> Problem:
    """The problem of a control. Raises UnsupportedConfig for a kind that is not known."""
    if control.kind not in PROBLEMS:
        raise UnsupportedConfig(
            f"<{control.kind}> ({control.name}) is not supported.", f"Known: {', '.join(PROBLEMS)}."
        )
    return PROBLEMS[control.kind]
