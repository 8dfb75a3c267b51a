"""LoRA training of a generator: it learns to write what annotators wrote.

The loss is that of the texts' own tokens, their end among them; the prompt is only read. Where several annotators
wrote, each text counts its share of the example.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from backend.active.head import LinearHead
from backend.models.device import autocast
from backend.models.generator import Generator, Pair
from backend.models.recipe import Recipe
from backend.models.training import Descent, Progress, Trained, adapter_weights, attach, blend, room_of


@dataclass(frozen=True)
class TextTask:
    """What is learned of N examples: ``prompts`` (N), the ``texts`` of each, and the head that is kept for it."""

    prompts: Sequence[str]
    texts: Sequence[Sequence[str]]
    start: LinearHead


def train_writer(
    generator: Generator,
    tasks: Mapping[str, TextTask],
    recipe: Recipe,
    on_progress: Progress,
    start: Path | None = None,
) -> Trained:
    """One adapter trained on the texts of all tasks. The generator itself stays as it is.

    See :func:`backend.models.training.train_adapter`; steps, rate and batch are the recipe's for texts.
    """
    recipe = replace(
        recipe, steps=recipe.text_steps, learning_rate=recipe.text_learning_rate, batch_size=recipe.text_batch_size
    )
    torch.manual_seed(recipe.seed)
    model = attach(generator, recipe)
    if start is not None:
        blend(model, adapter_weights(start), recipe.warm_start)
    run = _Run(generator, model, tasks, recipe, warm=start is not None)
    losses = run.descend(on_progress)

    def save(folder: Path) -> None:
        model.save_pretrained(str(folder), safe_serialization=True)
        (folder / "README.md").unlink(missing_ok=True)  # a template of peft without content

    heads = {name: task.start for name, task in tasks.items()}
    return Trained(save, heads, float(np.mean(losses[-20:])), len(losses))


class _Run(Descent):
    """The state of one training: the pairs of prompt and text, and how much each counts."""

    length_setting, rate_setting = "TEXT_MAX_TOKENS", "TEXT_LEARNING_RATE"

    def __init__(
        self, generator: Generator, model: Any, tasks: Mapping[str, TextTask], recipe: Recipe, *, warm: bool
    ) -> None:
        self.generator, self.model = generator, model
        self.pairs: list[Pair] = []
        shares: list[float] = []
        for task in tasks.values():
            for prompt, texts in zip(task.prompts, task.texts, strict=True):
                source = generator.source(prompt)
                self.pairs += [(source, generator.target(text)) for text in texts]
                shares += [1 / len(texts)] * len(texts)
        self.shares = torch.tensor(shares, device=generator.device)
        adapter = [p for p in model.parameters() if p.requires_grad]
        groups = [{"params": adapter, "lr": recipe.learning_rate}]
        tokens = [[len(a) + len(b)] for a, b in self.pairs]
        super().__init__(groups, recipe, tokens, room=room_of(generator), warm=warm)

    def _portion(self, rows: NDArray[np.int64], n: int) -> float:
        with autocast(self.generator.device):
            logps, counted = self.generator.likelihood(self.model, [self.pairs[row] for row in rows])
        shares = self.shares[torch.from_numpy(rows).to(self.shares.device)]
        total = -(shares * logps.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).sum() / n
        total.backward()  # type: ignore[no-untyped-call]
        return total.item()
