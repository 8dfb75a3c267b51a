"""What a kind of control must be able to do. Whoever works with one asks :func:`problem_for` and knows no kind.

A further kind is one module with such a class and one entry in ``PROBLEMS``.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.active.metrics import Interval
from backend.errors import UnsupportedConfig
from backend.problems.choices import SingleChoice
from backend.problems.multiple import MultipleChoice
from backend.problems.number import Number
from backend.problems.pairwise import Pairwise
from backend.problems.question import Question
from backend.problems.ranker import Ranker
from backend.problems.rating import Rating
from backend.problems.region import RegionChoice
from backend.problems.schema import Control, Example, Floats, Item, Output, Schema
from backend.problems.spans import Spans
from backend.problems.writing import Writing

if TYPE_CHECKING:
    from backend.models.training import HeadTask
    from backend.models.writer import TextTask


class Problem(Protocol):
    """Targets, heads, loss, decoding and uncertainty of one kind of control. Stateless.

    A *reading* is what the model computes of items once: outputs and columns are made of it. *Columns* (N, W) are the
    numbers of a task that are kept, so that a queue is sorted without the model. ``fast``: the columns are a reading,
    so that a head can be refitted to new labels in a fraction of a second; other problems keep a judgement of the
    version's own head in them. ``metric`` names what :meth:`quality` is on average, ``score`` the first of
    :meth:`scores`, ``measure`` what :meth:`profile` measures, ``auto`` the strategy that ``auto`` stands for. ``reads``
    names the model that reads the items: the ``encoder``, or the ``generator`` where there is one (else ``None``).
    ``tried``: whether what earlier versions said of later labels helps to calibrate. ``averaged``: whether the weights
    of two versions may be averaged. ``apart``: whether each of
    :meth:`texts` goes through the model by itself, so that a training takes as much longer as there are more of them.
    """

    @property
    def fast(self) -> bool: ...

    @property
    def metric(self) -> str: ...

    @property
    def score(self) -> str: ...

    @property
    def measure(self) -> str: ...

    @property
    def auto(self) -> str: ...

    @property
    def reads(self) -> str: ...

    @property
    def tried(self) -> bool: ...

    @property
    def averaged(self) -> bool: ...

    @property
    def apart(self) -> bool: ...

    # --------------------------------------------------------------------------------------------------- targets
    def can_fit(self, control: Control, targets: Sequence[Any]) -> bool:
        """Whether there is enough to learn from."""

    def target_json(self, target: Any) -> Any:
        """A target as JSON values."""

    def target_from_json(self, value: Any) -> Any:
        """The target of :meth:`target_json`."""

    # --------------------------------------------------------------------------------------------------- the model
    def texts(self, control: Control, item: Item) -> tuple[str, ...]:
        """What is read of an item that has the control's fields."""

    def context(self, control: Control, item: Item) -> str | None:
        """What the item may share with others that ask of it something else; None where it never does."""

    def width(self, control: Control, dim: int) -> int:
        """W, the columns that are kept of each task, for features of size ``dim``."""

    def read(self, control: Control, head: LinearHead, model: Any, items: Sequence[Item]) -> Any:
        """The reading of N items."""

    def columns(self, control: Control, head: LinearHead, reading: Any) -> Floats:
        """The columns (N, W) of a reading."""

    def outputs(self, control: Control, head: LinearHead, reading: Any) -> list[Output]:
        """What the head says of the N items of a reading."""

    def guided(self, control: Control, head: LinearHead, model: Any, item: Item, given: Any) -> Output | None:
        """What is said of an item that an annotator is working on and of which ``given``, a target, is answered so far;
        None where that makes no difference."""

    def profile(self, control: Control, head: LinearHead, columns: Floats) -> Floats:
        """Probabilities (N, K), K of at least 2, rows summing to 1, whose margin says what a label is worth: level
        where it is worth most. Where the classes of a choice are not what is uncertain, K is 2."""

    def mc_head(self, control: Control, head: LinearHead) -> LinearHead | None:
        """The head whose softmax on the columns is the profile, which MC-dropout samples from; None without one."""

    # ----------------------------------------------------------------------------------------------------- the head
    def fit_head(self, control: Control, columns: Floats, targets: Sequence[Any], *, seed: int) -> LinearHead:
        """Of ``fast`` problems: the head fitted to columns (N, W)."""

    def fit_calibrated(
        self,
        control: Control,
        train: tuple[Floats, Sequence[Any]],
        held_out: tuple[Floats, Sequence[Any]],
        *,
        seed: int,
    ) -> LinearHead:
        """Of ``fast`` problems: :meth:`fit_head` on columns (N, W) and targets, with honest probabilities; held-out
        ones (M may be 0) only serve for those."""

    def zero_shot_head(self, control: Control, dim: int, embed: Callable[[Sequence[str]], Floats]) -> LinearHead:
        """The head before there is any label."""

    def head_task(
        self, control: Control, model: Any, examples: Sequence[Example], *, smoothing: float, seed: int
    ) -> "HeadTask | TextTask":
        """What the model is trained to: for examples of which some may lack a target of this control, one at least has
        it."""

    def calibrated(self, control: Control, head: LinearHead, model: Any, examples: Sequence[Example]) -> LinearHead:
        """A trained head with its probabilities made honest on held-out examples, all with a target; may be none."""

    def logits(self, control: Control, head: LinearHead, model: Any, items: Sequence[Item]) -> Floats:
        """Of problems that are ``tried``: logits (N, K) of N items, before calibration."""

    def calibrated_as_tried(
        self,
        control: Control,
        head: LinearHead,
        model: Any,
        examples: Sequence[Example],
        tried: tuple[Floats, Sequence[Any]],
    ) -> LinearHead:
        """Of problems that are ``tried``: :meth:`calibrated`, also by the logits (M, K) that earlier versions had for M
        tasks which they had not learned from, and the targets of these."""

    def calibrated_apart(
        self, control: Control, head: LinearHead, model: Any, folds: Sequence[Sequence[Example]]
    ) -> list[LinearHead]:
        """For each fold of the held-out examples the head that was :meth:`calibrated` on the others, to measure that
        fold with: an answer that helped to decide what is said would flatter it. None where calibration decides hardly
        any answer."""

    # --------------------------------------------------------------------------------------------------- judgements
    def answer(self, output: Output) -> Any | None:
        """What the output says as a target; None where it says nothing."""

    def sure(self, target: Any) -> Output:
        """The output that says a target, with certainty."""

    def category(self, target: Any) -> Hashable:
        """Equal for targets that say the same."""

    def hard_class(self, target: Any) -> int:
        """Which class of the profile a target is; 0 where these are no classes of targets."""

    def kept(self, shown: Any, given: Any) -> bool:
        """Whether an annotator left the suggestion as it was; both are targets of one person."""

    def within(self, part: Any, given: Any) -> bool:
        """Whether an annotator left a part of the suggestion as it was; both are targets of one person."""

    def quality(self, control: Control, output: Output, target: Any) -> float:
        """How right an answer is, in [0, 1]."""

    def labels_in(self, target: Any) -> frozenset[int]:
        """Positions of the control's labels that a target holds."""

    def scores(self, control: Control, outputs: Sequence[Output], targets: Sequence[Any]) -> Mapping[str, float]:
        """What is measured of N answers, at least one: first the score that a learning curve shows, high = good, then
        others; with ``ece`` and ``nll`` where the confidence is a probability."""

    def report(
        self, control: Control, outputs: Sequence[Output], targets: Sequence[Any], *, seed: int
    ) -> Mapping[str, Interval]:
        """What is told of the N answers to held-out tasks beside the mean quality: name -> value with interval."""

    def reason(
        self,
        control: Control,
        profile: Floats,
        worth: float,
        *,
        pool_size: int,
        labelled: Sequence[Any] = (),
    ) -> Mapping[str, Any]:
        """Why a task with this ``profile`` (K,) was picked, as JSON values; ``labelled``: the targets that the model
        learned from."""

    def doubts(
        self, control: Control, head: LinearHead, columns: Floats, *, labelled: Sequence[Any] = ()
    ) -> list[Mapping[str, Any]]:
        """What the reasons of N tasks with these columns (N, W) add that no profile tells."""


PROBLEMS: dict[str, Problem] = {
    "choices": SingleChoice(),
    "choices-tree": SingleChoice(),
    "choices-multiple": MultipleChoice(),
    "choices-region": RegionChoice(),
    "labels": Spans(),
    "question": Question(),
    "rating": Rating(),
    "number": Number(),
    "pairwise": Pairwise(),
    "ranker": Ranker(),
    "textarea": Writing(),
}


def problem_for(control: Control) -> Problem:
    """The problem of a control. Raises UnsupportedConfig for a kind that is not known."""
    if control.kind not in PROBLEMS:
        raise UnsupportedConfig(
            f"<{control.kind}> ({control.name}) is not supported.", f"Known: {', '.join(PROBLEMS)}."
        )
    return PROBLEMS[control.kind]


def said(problem: Problem, output: Output) -> Hashable:
    """The category of what an output answers: equal for outputs that say the same, None for those that say nothing."""
    answer = problem.answer(output)
    return None if answer is None else problem.category(answer)


def readers(schema: Schema) -> frozenset[str]:
    """The models that read for the controls of a schema: ``encoder``, ``generator``."""
    return frozenset(problem_for(control).reads for control in schema.controls)


def context_of(schema: Schema, item: Item) -> str | None:
    """What an item may share with others that ask of it something else, by the first control that knows of such."""
    found = (problem_for(control).context(control, item) for control in schema.controls if item.has(control))
    return next((context for context in found if context is not None), None)


def contexts(schema: Schema, items: Sequence[Item]) -> NDArray[np.int64] | None:
    """Numbers (N,) from 0, equal for items that share a context, such as questions about one text; None where no two
    do."""
    numbers: dict[str | int, int] = {}
    shared = [context_of(schema, item) for item in items]
    found = [numbers.setdefault(at if one is None else one, len(numbers)) for at, one in enumerate(shared)]
    return np.array(found, np.int64) if len(numbers) < len(items) else None
