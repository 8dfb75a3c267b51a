"""How fast a training learns at each update, and when it has learned: pure numbers, no torch.

There is no validation data to stop by: labels are few, and the held-out ones only measure. What is left is the training
loss. Its floor depends on the kind of loss, the classes and the batches, so the rule asks how much of the fall so far
the newest updates added, not how low the loss is.
"""

from math import ceil

from backend.models.recipe import Recipe

WINDOW = 20  # updates, at least, whose mean loss is compared with that of as many before
LEARNED = 0.1  # share of the first loss that must be gone: a loss that never fell is no plateau


class Schedule:
    """Warm-up to the peak rate, linear decay to 0 at the last update; sooner where the loss has reached a plateau.

    A plateau is seen where a window of updates, one pass through the ``n`` examples or more, adds less than the share
    ``recipe.plateau`` to the fall of the loss. The rate then goes down to 0 within ``recipe.cooldown`` of the steps:
    what is learned at a high rate is not settled. A ``warm`` start need not fall first.
    """

    def __init__(self, recipe: Recipe, n: int, *, warm: bool = False) -> None:
        self.end = recipe.steps
        self._recipe, self._warm = recipe, warm
        self._window = ceil(max(WINDOW, n / min(recipe.batch_size, n)))
        self._losses: list[float] = []
        self._seen: tuple[int, float] | None = None  # the update at which the plateau was seen, and its rate

    def rate(self, step: int) -> float:
        """Share of the peak rate, in [0, 1], of the update after ``step`` others."""
        if self._seen is None:
            return self._planned(step)
        at, rate = self._seen
        return rate * max(0.0, (self.end - step) / max(1, self.end - at))

    def note(self, loss: float) -> None:
        """Take note of the loss of the newest update."""
        self._losses.append(loss)
        step = len(self._losses)
        if self._seen is None and step % self._window == 0 and self._flat():
            self._seen = (step, self._planned(step))
            self.end = min(self._recipe.steps, step + ceil(self._recipe.cooldown * self._recipe.steps))

    def _planned(self, step: int) -> float:
        recipe = self._recipe
        warm = max(1.0, recipe.warmup * recipe.steps)
        return min(1.0, (step + 1) / warm, max(0.0, (recipe.steps - step) / max(1.0, recipe.steps - warm)))

    def _flat(self) -> bool:
        size = self._window
        means = [sum(self._losses[at : at + size]) / size for at in range(0, len(self._losses), size)]
        if self._recipe.plateau == 0 or len(means) < 3:
            return False
        fall = means[0] - means[-1]
        learned = self._warm or fall > LEARNED * means[0]
        return learned and means[-2] - means[-1] < self._recipe.plateau * max(fall, 0.0)
