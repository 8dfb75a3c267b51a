"""The training loop: it learns, repeats itself, survives lack of memory, and draws fairly."""

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.models.schedule import Schedule
from backend.models.training import (
    CPU_TOKENS,
    CPU_TOKENS_COMPARED,
    HeadTask,
    Trained,
    adapter_weights,
    attach,
    blend,
    contrast,
    draws,
    linear_layers,
    room_of,
    train_adapter,
)

TEXTS = [f"{a} {b}" for a in ("how many", "who is", "where is") for b in ("the man", "a river", "the city", "a number")]
CLASSES = np.repeat([0, 1, 2], 4)
RECIPE = Recipe(steps=30, batch_size=6, learning_rate=3e-3, dropout=0.0, contrast=0.0, seed=1)


def cross_entropy(logits: Tensor, rows: np.ndarray) -> Tensor:
    return -torch.log_softmax(logits, dim=1)[torch.arange(len(rows)), torch.from_numpy(CLASSES[rows])]


def task(encoder: Encoder) -> HeadTask:
    zero = LinearHead(np.zeros((3, encoder.dim), np.float32), np.zeros(3, np.float32))
    return HeadTask(zero, [encoder.tokens.ids([text]) for text in TEXTS], cross_entropy, CLASSES)


def train(encoder: Encoder, recipe: Recipe = RECIPE) -> tuple[Trained, list[float]]:
    losses: list[float] = []
    trained = train_adapter(encoder, {"c": task(encoder)}, recipe, lambda i, n, loss: losses.append(loss))
    return trained, losses


def test_the_loss_falls_and_the_base_stays(encoder: Encoder) -> None:
    before = encoder.embed(TEXTS)
    trained, losses = train(encoder)
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    assert trained.loss == pytest.approx(np.mean(losses[-20:]))
    assert np.array_equal(encoder.embed(TEXTS), before)
    assert all(not p.requires_grad and p.grad is None for p in encoder.model.parameters())


def test_a_plateau_ends_the_training_sooner(encoder: Encoder) -> None:
    recipe = replace(RECIPE, steps=200)
    (short, losses), (whole, all_of_them) = (train(encoder, replace(recipe, plateau=p)) for p in (0.05, 0.0))
    assert short.steps == len(losses) < 150
    assert whole.steps == len(all_of_them) == 200
    assert short.loss < 0.2 * losses[0]


def test_progress_counts_to_the_end_that_is_known_then(encoder: Encoder) -> None:
    said: list[tuple[int, int]] = []
    recipe = replace(RECIPE, steps=200)
    train_adapter(encoder, {"c": task(encoder)}, recipe, lambda i, n, loss: said.append((i, n)))
    assert said[0] == (1, 200)
    assert said[-1][0] == said[-1][1] < 200


def test_the_same_seed_is_the_same_training(encoder: Encoder) -> None:
    (one, _), (two, _), (other, _) = (train(encoder, replace(RECIPE, steps=5, seed=s)) for s in (1, 1, 2))
    assert np.array_equal(one.heads["c"].weight, two.heads["c"].weight)
    assert not np.array_equal(one.heads["c"].weight, other.heads["c"].weight)


@pytest.fixture
def undisturbed(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """The encoder without dropout: what it computes does not depend on the portions."""
    for module in encoder.model.modules():
        if isinstance(module, nn.Dropout):
            monkeypatch.setattr(module, "p", 0.0)
    for layer in encoder.model.encoder.layer:  # type: ignore[union-attr]
        monkeypatch.setattr(layer.attention.self.dropout, "p", 0.0)
    return encoder


@pytest.fixture
def sizes(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what the model reads."""
    found: list[tuple[int, ...]] = []
    forward = type(encoder.model).forward

    def watched(self: nn.Module, input_ids: Tensor, **rest: object) -> object:
        found.append(tuple(input_ids.shape))
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(encoder.model), "forward", watched)
    return found


def test_lack_of_memory_changes_the_portions_not_the_update(
    undisturbed: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    still = replace(RECIPE, steps=4)
    expected, _ = train(undisturbed, still)
    forward = type(undisturbed.model).forward

    def short_of_memory(self: nn.Module, input_ids: Tensor, **rest: object) -> object:
        if len(input_ids) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(undisturbed.model), "forward", short_of_memory)
    halved, _ = train(undisturbed, still)
    assert halved.heads["c"].weight == pytest.approx(expected.heads["c"].weight, abs=1e-3)


def test_no_memory_for_one_example_says_what_to_lower(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(self: nn.Module, **rest: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(type(encoder.model), "forward", no_memory)
    with pytest.raises(ModelError) as caught:
        train(encoder)
    assert "MAX_TOKENS" in caught.value.hint


@pytest.mark.parametrize("room", [1, 12])
def test_an_update_has_so_many_tokens_in_memory_at_once(
    undisturbed: Encoder, sizes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    still = replace(RECIPE, steps=4)
    expected, _ = train(undisturbed, still)
    assert {rows for rows, _ in sizes} == {6}
    sizes.clear()
    monkeypatch.setattr(undisturbed, "spec", replace(undisturbed.spec, train_tokens=room))
    portioned, _ = train(undisturbed, still)
    assert all(rows == 1 or rows * tokens <= room for rows, tokens in sizes)
    assert sum(rows for rows, _ in sizes) == 4 * 6
    assert portioned.heads["c"].weight == pytest.approx(expected.heads["c"].weight, abs=1e-3)


@pytest.mark.parametrize(("contrast", "together"), [(0.0, False), (0.5, True)])
def test_examples_that_are_compared_are_in_memory_together(
    encoder: Encoder, sizes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch, contrast: float, together: bool
) -> None:
    monkeypatch.setattr("backend.models.training.CPU_TOKENS", 1)
    train(encoder, replace(RECIPE, steps=1, contrast=contrast))
    assert ([rows for rows, _ in sizes] == [6]) == (together or encoder.device.type != "cpu")


def test_only_a_cpu_has_a_bound_by_itself(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    bounds = (CPU_TOKENS, CPU_TOKENS_COMPARED) if encoder.device.type == "cpu" else (math.inf, math.inf)
    assert (room_of(encoder), room_of(encoder, compared=True)) == bounds
    monkeypatch.setattr(encoder, "spec", replace(encoder.spec, train_tokens=99))
    assert room_of(encoder) == 99


def test_a_loss_that_is_not_finite_ends_the_training_with_a_sentence(encoder: Encoder) -> None:
    broken = replace(task(encoder), loss=lambda logits, rows: cross_entropy(logits, rows) * float("nan"))
    with pytest.raises(ModelError, match="loss is nan"):
        train_adapter(encoder, {"c": broken}, RECIPE, lambda *_: None)


def test_examples_without_a_target_teach_nothing(encoder: Encoder) -> None:
    absent = replace(task(encoder), sequences=[[]] * 12, groups=np.full(12, -1))
    recipe = replace(RECIPE, steps=3, weight_decay=0.0)
    trained = train_adapter(encoder, {"c": absent}, recipe, lambda *_: None)
    assert trained.loss == 0
    assert not trained.heads["c"].weight.any()


@pytest.mark.parametrize("absent", [(), (0, 5, 7, 8, 9, 11)])
def test_only_examples_that_teach_something_are_drawn(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch, absent: tuple[int, ...]
) -> None:
    """Where all do, all are, in the order of :func:`draws`."""
    taught = np.setdiff1d(np.arange(12), absent)
    seen: list[list[int]] = []
    counted: list[int] = []

    def loss(logits: Tensor, rows: np.ndarray) -> Tensor:
        seen.append(rows.tolist())
        return cross_entropy(logits, rows)

    def schedule(recipe: Recipe, n: int, *, warm: bool) -> Schedule:
        counted.append(n)
        return Schedule(recipe, n, warm=warm)

    monkeypatch.setattr("backend.models.training.Schedule", schedule)
    whole = task(encoder)
    some = replace(whole, sequences=[[] if at in absent else ids for at, ids in enumerate(whole.sequences)], loss=loss)
    train_adapter(encoder, {"c": some}, replace(RECIPE, steps=9), lambda *_: None)
    lengths = [len(whole.sequences[at][0]) for at in taught]
    assert seen == [taught[batch].tolist() for batch in draws(lengths, replace(RECIPE, steps=9))]
    assert counted == [len(taught)]


def test_heads_that_read_the_same_share_its_forward_pass(encoder: Encoder, sizes: list[tuple[int, ...]]) -> None:
    other = replace(task(encoder), sequences=[encoder.tokens.ids([text, "a man"]) for text in TEXTS],
                    loss=lambda logits, rows: cross_entropy(logits[::2], rows))  # fmt: skip
    train_adapter(encoder, {"c": task(encoder), "d": other}, replace(RECIPE, steps=1), lambda *_: None)
    assert [rows for rows, _ in sizes] == [2 * RECIPE.batch_size]


def test_a_head_over_tokens_sees_every_token(encoder: Encoder) -> None:
    shapes: list[tuple[int, ...]] = []

    def loss(logits: Tensor, rows: np.ndarray) -> Tensor:
        shapes.append(tuple(logits.shape))
        return logits.square().mean(dim=(1, 2))

    tokens = replace(task(encoder), loss=loss, tokens=True, groups=np.full(12, -1))
    train_adapter(encoder, {"t": tokens}, replace(RECIPE, steps=1), lambda *_: None)
    longest = max(len(ids[0]) for ids in tokens.sequences)
    assert shapes[0][0] == 6
    assert shapes[0][1] <= longest
    assert shapes[0][2] == 3


def test_an_example_that_weighs_less_adds_less_to_the_loss(encoder: Encoder) -> None:
    def loss(weight: float) -> float:
        lighter = replace(task(encoder), weights=np.full(12, weight, np.float32))
        return train_adapter(encoder, {"c": lighter}, replace(RECIPE, steps=1), lambda *_: None).loss

    assert loss(0.25) == pytest.approx(0.25 * loss(1.0), rel=1e-4)
    assert loss(0.25) > 0


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_training_starts_so_far_on_the_way_to_the_adapter_before(
    encoder: Encoder, tmp_path: Path, share: float
) -> None:
    train(encoder)[0].save(tmp_path)
    torch.manual_seed(5)
    model = attach(encoder, RECIPE)
    fresh = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    blend(model, adapter_weights(tmp_path), share)
    before = load_file(tmp_path / "adapter_model.safetensors")
    assert len(before) == len(fresh) == 2 * 2 * 6
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            wanted = share * before[name.replace(".default", "")].to(encoder.device) + (1 - share) * fresh[name]
            assert torch.allclose(parameter, wanted)


def test_a_warm_start_is_where_the_training_before_ended(encoder: Encoder, tmp_path: Path) -> None:
    first, cold = train(encoder)
    first.save(tmp_path)
    near = replace(task(encoder), start=first.heads["c"])
    recipe = replace(RECIPE, steps=1, warm_start=1.0)
    warm = train_adapter(encoder, {"c": near}, recipe, lambda *_: None, tmp_path)
    assert warm.loss < 0.5 * cold[0]


def test_an_adapter_of_another_rank_is_no_start(encoder: Encoder, tmp_path: Path) -> None:
    train(encoder, replace(RECIPE, steps=1, lora_rank=4))[0].save(tmp_path)
    with pytest.raises(ModelError, match="another rank"):
        blend(attach(encoder, RECIPE), adapter_weights(tmp_path), 0.5)


@pytest.mark.parametrize("n", [1, 5, 16, 50, 180])
def test_all_examples_are_drawn_equally_often(n: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 40, n).tolist()
    batches = list(draws(lengths, Recipe(steps=120, batch_size=8)))
    counts = Counter(int(at) for batch in batches for at in batch)
    assert len(batches) == 120
    assert {len(b) for b in batches} == {min(8, n)}
    assert set(counts) == set(range(n))
    assert max(counts.values()) - min(counts.values()) <= 2  # the end may cut a group


def test_batches_hold_similar_lengths() -> None:
    lengths = np.random.default_rng(0).integers(3, 40, 180)
    batches = list(draws(lengths.tolist(), Recipe(steps=100, batch_size=16)))
    grouped = np.mean([lengths[b].max() for b in batches])
    shuffled = np.mean([np.random.default_rng(i).choice(lengths, 16).max() for i in range(100)])
    assert grouped < 1.1 * lengths.mean() < 0.7 * shuffled
    assert np.mean([lengths[b].mean() for b in batches]) == pytest.approx(lengths.mean(), rel=0.05)


def test_the_adapter_goes_to_every_linear_layer_but_the_pooler(encoder: Encoder) -> None:
    model = nn.ModuleDict({"pooler": nn.Linear(2, 2), "mlp": nn.Linear(2, 2)})
    assert list(linear_layers(model)) == ["mlp"]
    assert len(linear_layers(encoder.model)) == 2 * 6


def test_the_contrastive_loss_is_low_where_groups_are_apart() -> None:
    groups = torch.tensor([0, 0, 1, 1, -1])
    apart = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 3], [1, 0]])
    mixed = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [5, 5]])
    low, high = (float(contrast(f, groups, 0.1)) for f in (apart, mixed))
    assert low < 0.01 < 5 < high
    assert float(contrast(mixed, torch.tensor([0, 1, 2, -1, -1]), 0.1)) == 0  # nobody to compare with
    assert float(contrast(2 * mixed, groups, 0.1)) == pytest.approx(high)


def test_contrast_moves_examples_of_a_class_together(encoder: Encoder, tmp_path: Path) -> None:
    def spread(recipe: Recipe, folder: Path) -> float:
        trained, _ = train(encoder, recipe)
        trained.save(folder)
        x = encoder.adapted(folder).embed(TEXTS)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        return float(np.mean([x[a] @ x[b] for a in range(12) for b in range(12) if CLASSES[a] == CLASSES[b]]))

    with_it, without = (
        spread(replace(RECIPE, contrast=4.0), tmp_path / "a"),
        spread(replace(RECIPE, contrast=0.0), tmp_path / "b"),
    )
    assert with_it > without + 0.02


@pytest.mark.parametrize(
    "wrong",
    [
        {"contrast": -1.0},
        {"steps": 0},
        {"lora_rank": 0},
        {"warmup": 2.0},
        {"dropout": 1.0},
        {"plateau": -0.1},
        {"cooldown": 1.0},
        {"self_training": 1.0},
        {"self_weight": 1.0},
        {"warm_start": 1.1},
    ],
)
def test_a_recipe_that_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Recipe(**wrong)  # type: ignore[arg-type]
