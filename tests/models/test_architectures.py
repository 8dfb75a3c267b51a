"""Base models of other architectures than the rest of the tests use: each reads, writes, learns and comes back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from backend.errors import ModelError
from backend.models.encoder import Encoder
from backend.models.generator import Generator
from backend.models.spec import ModelSpec, TextSpec
from backend.models.writer import TextTask, train_writer
from tests.models.test_generator import PAIRS, PROMPTS, START, texts
from tests.models.test_generator import RECIPE as TEXT_RECIPE
from tests.models.test_training import RECIPE, TEXTS, train
from tests.models.tiny import save_tiny_bert, save_tiny_writer

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "max_position_embeddings": 40, "initializer_range": 0.2, "pad_token_id": 0,
}  # fmt: skip
GROUPED = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "bos_token_id": 0, "eos_token_id": 0}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40, "bos_token_id": 0, "eos_token_id": 0}
ENCODERS: dict[str, dict[str, Any]] = {
    "mpnet": SMALL,
    "xlm-roberta": SMALL,
    "distilbert": {
        "dim": 32,
        "hidden_dim": 64,
        "n_layers": 2,
        "n_heads": 4,
        "max_position_embeddings": 40,
        "initializer_range": 0.2,
    },
    "modernbert": {**SMALL, "bos_token_id": 2, "cls_token_id": 2, "eos_token_id": 3, "sep_token_id": 3},
    "deberta-v2": {**SMALL, "relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 16},
    "albert": {**SMALL, "embedding_size": 16},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64, "initializer_range": 0.2},
    "gpt2": {**GPT2, "initializer_range": 0.2},
    "opt": {
        "hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 40, "word_embed_proj_dim": 16, "init_std": 0.2, "pad_token_id": 0,
    },
    "qwen3": GROUPED,
    "gemma3_text": GROUPED,
}  # fmt: skip
PLACES = {"mpnet": 38, "xlm-roberta": 39, "xlnet": 64}  # two and one are not for tokens; as many as there are
ROOMY = {"max_position_embeddings": 128}
NO_ENDS = {"bos_token_id": 50256, "eos_token_id": 50256}
PAIRED = {
    "d_model": 32, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.2, "dropout": 0.0, "forced_eos_token_id": None,
    "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0, "decoder_start_token_id": 2, **ROOMY,
}  # fmt: skip
WRITERS: dict[str, dict[str, Any]] = {
    "gpt2": {**GPT2, "n_positions": 128, "initializer_range": 0.2, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2},
    "qwen3": {**GROUPED, **ROOMY},
    "mbart": PAIRED,
    "m2m_100": PAIRED,
}


def save(folder: Path, auto: Any, kind: str, config: dict[str, Any]) -> Path:
    """Save a random model of a ``kind`` beside the tokenizer that is in the folder; the folder."""
    torch.manual_seed(0)
    words = len(AutoTokenizer.from_pretrained(str(folder)))
    auto.from_config(AutoConfig.for_model(kind, **{"vocab_size": words, **config})).save_pretrained(str(folder))
    return folder


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder(kind: str, tmp_path: Path, device: str) -> None:
    folder = save(save_tiny_bert(tmp_path / kind), AutoModel, kind, ENCODERS[kind])
    encoder = Encoder.load(ModelSpec(str(folder), device=device, threads=1, max_tokens=64))
    assert encoder.tokens.max_tokens == PLACES.get(kind, 40)
    before = encoder.embed([*TEXTS, "how many " * 60])  # longer than the model reads
    assert np.allclose(encoder.embed(TEXTS[:1]), before[0], atol=1e-4 if device == "cpu" else 0.1)
    windows = encoder.tokens.windows("the city of a man " * 30, before="how far")
    hidden = dict(encoder.hidden([w.ids for w in windows]))
    assert {at: len(states) for at, states in hidden.items()} == {at: len(w.ids) for at, w in enumerate(windows)}
    trained, losses = train(encoder, replace(RECIPE, steps=20))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    (tmp_path / "adapter").mkdir()
    trained.save(tmp_path / "adapter")
    assert np.abs(encoder.adapted(tmp_path / "adapter").embed(TEXTS) - before[:-1]).max() > 0.1
    assert np.array_equal(encoder.embed(TEXTS), encoder.embed(TEXTS))
    assert np.allclose(encoder.embed(TEXTS), before[:-1], atol=1e-4 if device == "cpu" else 0.1)


@pytest.mark.parametrize("kind", ["fnet", "convbert", "yoso"])
def test_an_encoder_that_reads_padding_is_refused(kind: str, tmp_path: Path) -> None:
    folder = save(save_tiny_bert(tmp_path / kind), AutoModel, kind, SMALL)
    with pytest.raises(ModelError, match="padding"):
        Encoder.load(ModelSpec(str(folder), device="cpu", threads=1, max_tokens=64))


@pytest.mark.parametrize(("kind", "places"), [("ibert", 39), ("mra", 40)])
def test_places_that_are_not_for_tokens_are_not_counted(kind: str, places: int, tmp_path: Path, device: str) -> None:
    folder = save(save_tiny_bert(tmp_path / kind), AutoModel, kind, SMALL)
    encoder = Encoder.load(ModelSpec(str(folder), device=device, threads=1, max_tokens=64))
    assert encoder.tokens.max_tokens == places
    assert np.isfinite(encoder.embed(["how many " * 60])).all()


def test_a_model_that_cannot_read_a_text_is_refused(tmp_path: Path, device: str) -> None:
    """Nystromformer reads so many tokens at once, neither more nor less, unless it has as many landmarks."""
    only = {**SMALL, "num_landmarks": 8, "segment_means_seq_len": 64}
    folder = save(save_tiny_bert(tmp_path / "only"), AutoModel, "nystromformer", only)
    with pytest.raises(ModelError, match="cannot read a text"):
        Encoder.load(ModelSpec(str(folder), device=device, threads=1))


def logp_of_transformers(generator: Generator, prompt: str) -> float:
    """The mean log-probability of the tokens that transformers writes, one after the other."""
    ids = torch.tensor([generator.source(prompt)], device=generator.device)
    how = {"generation_config": generator._how(), "output_logits": True, "return_dict_in_generate": True}
    found = generator.model.generate(ids, **how)
    new = found.sequences[0, -len(found.logits) :]
    logps = [torch.log_softmax(logits[0].float(), 0)[token] for logits, token in zip(found.logits, new, strict=True)]
    return float(torch.stack(logps).mean())


@pytest.mark.parametrize("kind", WRITERS)
def test_a_writer(kind: str, tmp_path: Path, device: str) -> None:
    paired = WRITERS[kind] is PAIRED
    auto = AutoModelForSeq2SeqLM if paired else AutoModelForCausalLM
    ends = {"eos_token_id": 0, "bos_token_id": 0, "pad_token_id": int(paired)}
    folder = save_tiny_writer(tmp_path / kind, "seq2seq" if paired else "causal")
    save(folder, auto, kind, {**WRITERS[kind], **ends})
    (folder / "generation_config.json").unlink(missing_ok=True)
    generator = Generator.load(TextSpec(str(folder), device=device, threads=1, max_new_tokens=6))
    alone = [generator.within(60).write([prompt])[0] for prompt in PROMPTS]
    generator._memory.clear()
    written = generator.write(PROMPTS)
    assert texts(written) == texts(alone)
    for prompt, found in zip(PROMPTS, written, strict=True):  # what it learns by is what it writes by
        for one in found or ():
            expected = logp_of_transformers(generator, prompt)
            assert one.logp == pytest.approx(expected, abs=1e-4 if device == "cpu" else 0.1)
    task = TextTask(list(PAIRS), [(text,) for text in PAIRS.values()], START)
    (tmp_path / "adapter").mkdir()
    train_writer(generator, {"answer": task}, TEXT_RECIPE, lambda *_: None).save(tmp_path / "adapter")
    assert texts(generator.adapted(tmp_path / "adapter").write(list(PAIRS))) == [[text] for text in PAIRS.values()]


@pytest.mark.parametrize("kind", ["xlm-roberta", "xlnet"])
def test_a_model_that_reads_a_text_before_it_writes_it_is_no_writer(kind: str, tmp_path: Path, device: str) -> None:
    folder = save_tiny_writer(tmp_path / kind, "causal")
    save(folder, AutoModelForCausalLM, kind, {**ENCODERS[kind], "eos_token_id": 0, "pad_token_id": 1})
    with pytest.raises(ModelError, match="reads") as caught:
        Generator.load(TextSpec(str(folder), device=device, threads=1, max_new_tokens=6))
    assert "TEXT_MODEL" in caught.value.hint


def test_a_writer_whose_tokenizer_only_separates_texts_ends_them_so(tmp_path: Path, device: str) -> None:
    """GPT-2 with BERT's tokenizer: by its config 50256 ends a text, which is no token that it has."""
    folder = save(save_tiny_bert(tmp_path / "gpt2"), AutoModelForCausalLM, "gpt2", {**WRITERS["gpt2"], **NO_ENDS})
    generator = Generator.load(TextSpec(str(folder), device=device, threads=1, max_new_tokens=6))
    assert generator.tokenizer.convert_ids_to_tokens(generator.source("how many")) == ["[CLS]", "how", "many"]
    assert generator.tokenizer.convert_ids_to_tokens(generator.target("city")) == ["city", "[SEP]"]
    task = TextTask(list(PAIRS), [(text,) for text in PAIRS.values()], START)
    (tmp_path / "adapter").mkdir()
    train_writer(generator, {"answer": task}, TEXT_RECIPE, lambda *_: None).save(tmp_path / "adapter")
    assert texts(generator.adapted(tmp_path / "adapter").write(list(PAIRS))) == [[text] for text in PAIRS.values()]
    generator.tokenizer.sep_token = None
    with pytest.raises(ModelError, match="ends a text"):
        Generator(generator.model, generator.tokenizer, generator.spec, "0")
