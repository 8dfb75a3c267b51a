"""The encoder: order, batches, cuts, identity, and adapters that share what they do not change."""

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer, T5Config

from backend.errors import ModelError
from backend.models.device import out_of_memory, pick_device
from backend.models.encoder import Encoder
from backend.models.recipe import Recipe
from backend.models.spec import ModelSpec
from backend.models.training import attach, linear_layers
from backend.settings import Settings
from tests.models.tiny import save_tiny_bert

TEXTS = ["how many", "who was the man ?", "", "where is the river in the city ?" * 3, "a", "what"]
BFLOAT16 = 0.1  # how far features of about 1 are from those in float32, at most, on a GPU


def random_adapter(encoder: Encoder, folder: Path, seed: int = 0) -> Path:
    """An adapter with random weights, saved as training saves it."""
    torch.manual_seed(seed)
    model = attach(encoder, Recipe(lora_rank=4))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(str(folder))
    return folder


def test_each_text_has_its_own_features_whatever_it_is_batched_with(encoder: Encoder) -> None:
    together = encoder.embed(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dim) == (6, 32)
    assert together.dtype == np.float32
    for text, row in zip(TEXTS, together, strict=True):
        assert encoder.embed([text])[0] == pytest.approx(row, abs=1e-5)
    assert encoder.embed([]).shape == (0, 32)


def test_long_texts_are_cut_to_what_the_model_can_read(encoder: Encoder) -> None:
    assert encoder.tokens.max_tokens == 40  # the setting says 256, the model has 40 positions
    long = encoder.embed(["river " * 5000, "river " * 38])
    assert long[0] == pytest.approx(long[1], abs=1e-5)


@pytest.mark.parametrize("token", ["<new>", None])
def test_a_padding_token_that_the_model_does_not_know_is_not_read(
    tiny: Path, encoder: Encoder, tmp_path: Path, token: str | None
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "padded")
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    tokenizer.pad_token = token
    tokenizer.save_pretrained(str(folder))
    padded = Encoder.load(ModelSpec(str(folder), device=str(encoder.device), threads=1))
    assert padded.embed(TEXTS) == pytest.approx(encoder.embed(TEXTS), abs=1e-5)


def test_progress_reaches_the_end(encoder: Encoder) -> None:
    seen: list[tuple[int, int]] = []
    encoder.embed(TEXTS, on_progress=lambda done, n: seen.append((done, n)))
    assert seen[-1] == (6, 6)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_features_are_the_mean_of_real_tokens(encoder: Encoder) -> None:
    ids = torch.tensor([encoder.tokens.ids(["who was the man ?"])[0]], device=encoder.device)
    mean = encoder.model(input_ids=ids).last_hidden_state.mean(1)[0].cpu().numpy()
    found = encoder.embed(["who was the man ?", TEXTS[3]])[0]
    assert found == pytest.approx(mean, abs=1e-5 if encoder.device.type == "cpu" else BFLOAT16)


def test_a_prefix_goes_before_every_text(tiny: Path, encoder: Encoder) -> None:
    prefixed = Encoder.load(ModelSpec(str(tiny), text_prefix="the ", device=str(encoder.device), threads=1))
    assert prefixed.embed(["man"])[0] == pytest.approx(encoder.embed(["the man"])[0], abs=1e-5)


def test_identity_follows_weights_prefix_and_cut_not_the_place(tiny: Path, encoder: Encoder, tmp_path: Path) -> None:
    spec = ModelSpec(str(tiny), device="cpu", threads=1)
    copy = shutil.copytree(tiny, tmp_path / "copy")
    other = save_tiny_bert(tmp_path / "other", seed=1)
    assert Encoder.load(replace(spec, name=str(copy), batch_tokens=99)).base_id == encoder.base_id
    different = [replace(spec, name=str(other)), replace(spec, text_prefix="q"), replace(spec, max_tokens=16)]
    ids = {Encoder.load(s).base_id for s in different} | {encoder.base_id}
    assert len(ids) == 4
    assert all(len(i) == 16 and int(i, 16) >= 0 for i in ids)


def test_a_pooler_is_left_out_and_never_random(tmp_path: Path) -> None:
    with_pooler = Encoder.load(ModelSpec(str(save_tiny_bert(tmp_path, pooler=True)), device="cpu", threads=1))
    assert not [name for name, _ in with_pooler.model.named_parameters() if "pooler" in name]


def test_an_adapted_encoder_shares_what_it_does_not_change_and_leaves_the_base_alone(
    encoder: Encoder, tmp_path: Path
) -> None:
    before = encoder.embed(TEXTS)
    state = {name: tensor.clone() for name, tensor in encoder.model.state_dict().items()}
    one, two = (encoder.adapted(random_adapter(encoder, tmp_path / str(s), s)) for s in (1, 2))
    assert np.array_equal(encoder.embed(TEXTS), before)
    assert all(torch.equal(tensor, state[name]) for name, tensor in encoder.model.state_dict().items())
    assert np.abs(one.embed(TEXTS) - before).max() > 0.05
    assert np.abs(one.embed(TEXTS) - two.embed(TEXTS)).max() > 0.05
    changed = set(linear_layers(encoder.model))
    base = dict(encoder.model.named_parameters())
    for name, parameter in one.model.named_parameters():
        owns = name.removesuffix(".weight") in changed and name.endswith(".weight")
        assert (parameter.data_ptr() != base[name].data_ptr()) is owns, name
    assert len({encoder.base_id, one.base_id, two.base_id}) == 3


def test_merged_answers_as_unmerged_and_as_itself_loaded_again(encoder: Encoder, tmp_path: Path) -> None:
    folder = random_adapter(encoder, tmp_path / "a")
    unmerged = attach(encoder, Recipe(lora_rank=4)).eval()
    unmerged.load_adapter(str(folder), "default")
    expected = Encoder(unmerged.base_model.model, encoder.tokens, encoder.spec, "x").embed(TEXTS)
    again = Encoder.load(encoder.spec).adapted(folder)
    merged = encoder.adapted(folder).embed(TEXTS)
    assert merged == pytest.approx(expected, abs=1e-4 if encoder.device.type == "cpu" else BFLOAT16)
    assert again.embed(TEXTS) == pytest.approx(merged, abs=1e-4)
    assert again.base_id == encoder.adapted(folder).base_id


def test_several_versions_serve_several_threads_at_once(encoder: Encoder, tmp_path: Path) -> None:
    versions = [encoder, *(encoder.adapted(random_adapter(encoder, tmp_path / str(s), s)) for s in (1, 2))]
    expected = [v.embed(TEXTS) for v in versions]
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda i: versions[i % 3].embed(TEXTS), range(60)))
    for i, answer in enumerate(answers):
        assert answer == pytest.approx(expected[i % 3], abs=1e-5)


def test_an_adapter_is_loaded_to_the_device_of_its_model(
    encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = random_adapter(encoder, tmp_path / "a")
    monkeypatch.setattr("peft.peft_model.infer_device", lambda: pytest.fail("on any GPU that is there"))
    assert encoder.adapted(folder).device == encoder.device


def test_an_adapter_for_another_model_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    folder = random_adapter(encoder, tmp_path / "a")
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: torch.zeros(3, 3) for k in weights}, folder / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        encoder.adapted(folder)


def test_out_of_memory_halves_the_batch(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = encoder.embed(TEXTS)
    sizes: list[int] = []
    forward = type(encoder.model).forward

    def short_of_memory(self: nn.Module, input_ids: torch.Tensor, **rest: object) -> object:
        sizes.append(len(input_ids))
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(encoder.model), "forward", short_of_memory)
    assert encoder.embed(TEXTS) == pytest.approx(expected, abs=1e-5)
    assert max(sizes) > 1
    monkeypatch.setattr(type(encoder.model), "forward", _no_memory)
    with pytest.raises(ModelError, match="No memory"):
        encoder.embed(["a"])


def _no_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_lack_of_memory_is_known_by_what_torch_says_of_it() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15, device="cpu")
    assert out_of_memory(caught.value)
    assert out_of_memory(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."))
    assert out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))


def test_other_errors_are_not_taken_for_lack_of_memory(encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(type(encoder.model), "forward", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        encoder.embed(["a", "b"])


def refusals(tiny: Path, folder: Path) -> Sequence[tuple[Path, str]]:
    missing = shutil.copytree(tiny, folder / "missing")
    weights = load_file(missing / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, missing / "model.safetensors", {"format": "pt"})
    seq2seq = shutil.copytree(tiny, folder / "seq2seq")
    T5Config().save_pretrained(str(seq2seq))
    pointer = shutil.copytree(tiny, folder / "pointer")
    (pointer / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    mute = shutil.copytree(tiny, folder / "mute")
    for file in mute.glob("tokenizer*"):
        file.unlink()
    damaged = shutil.copytree(tiny, folder / "damaged")
    (damaged / "config.json").write_text('{"model_type": "no such thing"}')
    return [
        (missing, "lacks weights"),
        (seq2seq, "not an encoder"),
        (damaged, "cannot be loaded"),
        (pointer, "cannot be loaded"),
        (mute, "no tokenizer"),
    ]


def test_models_that_cannot_be_used_are_refused_with_the_cause(tiny: Path, tmp_path: Path) -> None:
    for folder, message in refusals(tiny, tmp_path):
        with pytest.raises(ModelError, match=message):
            Encoder.load(ModelSpec(str(folder), device="cpu", threads=1))


def test_a_hub_that_cannot_be_reached_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="cannot be loaded") as caught:
        Encoder.load(ModelSpec("nobody/no-such-model", device="cpu", threads=1))
    assert "hub must be reachable" in caught.value.hint


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said(tiny: Path) -> None:
    with pytest.raises(ModelError, match="no CUDA device"):
        Encoder.load(ModelSpec(str(tiny), device="cuda"))


def test_on_a_gpu_cudnn_does_not_compute_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.backends.cuda.cudnn_sdp_enabled()
    try:
        torch.backends.cuda.enable_cudnn_sdp(True)
        assert pick_device("cpu").type == "cpu"
        assert torch.backends.cuda.cudnn_sdp_enabled()
        monkeypatch.setattr("torch.cuda.is_available", lambda: True)
        assert pick_device("auto").type == pick_device("cuda").type == "cuda"
        assert not torch.backends.cuda.cudnn_sdp_enabled()
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)


LONG = "where is the river in the city ? " * 9


@pytest.mark.parametrize("before", [None, "how far is the river", "how far " * 60])
@pytest.mark.parametrize("prefix", ["", "a city "])
def test_windows_cover_a_text_to_the_last_character(encoder: Encoder, before: str | None, prefix: str) -> None:
    tokens = replace(encoder.tokens, prefix=prefix)
    windows = tokens.windows(LONG, before=before, stride=6)
    covered = np.zeros(len(LONG), bool)
    for window in windows:
        assert len(window.ids) == len(window.offsets) <= tokens.max_tokens
        for start, end in window.offsets[window.inside]:
            assert LONG[start:end].strip() == LONG[start:end] != ""
            covered[start:end] = True
    assert len(windows) > 1
    assert all(covered[at] for at in range(len(LONG)) if not LONG[at].isspace())


@pytest.mark.parametrize("before", ["who ?", "how far " * 60], ids=["short", "long"])
def test_the_least_number_of_tokens_has_room_for_a_text_beside_a_question(tiny: Path, before: str) -> None:
    (least,) = (limit.ge for limit in Settings.model_fields["max_tokens"].metadata if hasattr(limit, "ge"))
    tokens = Encoder.load(ModelSpec(str(tiny), device="cpu", threads=1, max_tokens=least)).tokens
    windows = tokens.windows(LONG, before=before, stride=48)
    assert max(window.offsets.max() for window in windows) == len(LONG.rstrip())
    assert max(len(window.ids) for window in windows) == least


def test_a_tokenizer_that_would_cut_the_beginning_cuts_the_end(
    tiny: Path, encoder: Encoder, tmp_path: Path, device: str
) -> None:
    folder = shutil.copytree(tiny, tmp_path / "left")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "truncation_side": "left"}))
    tokens = Encoder.load(ModelSpec(str(folder), device=device, threads=1)).tokens
    assert tokens.ids([LONG]) == encoder.tokens.ids([LONG])
    assert [w.ids for w in tokens.windows(LONG)] == [w.ids for w in encoder.tokens.windows(LONG)]


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_words_is_one_window_without_characters(encoder: Encoder, text: str) -> None:
    (window,) = encoder.tokens.windows(text)
    assert len(window.ids) >= 1
    assert not window.inside.any()


def test_hidden_states_are_of_each_sequence_whatever_it_is_batched_with(encoder: Encoder) -> None:
    sequences = encoder.tokens.ids(TEXTS)
    together = dict(encoder.hidden(sequences))
    for at, ids in enumerate(sequences):
        assert together[at].shape == (len(ids), encoder.dim)
        assert together[at] == pytest.approx(dict(encoder.hidden([ids]))[0], abs=1e-5)
    means = np.stack([together[at].mean(axis=0) for at in range(len(sequences))])
    assert means == pytest.approx(encoder.embed(TEXTS), abs=1e-5)
