"""What writes: batches and padding change nothing, scores are the model's own, and time is kept."""

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from backend.active.head import LinearHead
from backend.errors import ModelError
from backend.models.generator import Generator
from backend.models.recipe import Recipe
from backend.models.spec import TextSpec
from backend.models.training import attach
from backend.models.writer import TextTask, train_writer
from tests.models.tiny import save_tiny_bert, save_tiny_writer

KINDS = ["causal", "chat", "seq2seq"]
PROMPTS = ["how many", "who is the tall man in the city", "where", "what is the number of the river"]
RECIPE = Recipe(text_steps=120, text_batch_size=4, text_learning_rate=2e-2, plateau=0.0)
BFLOAT16 = 0.02  # how far a mean log-probability is from that in float32, or of another batch, at most, on a GPU
START = LinearHead(np.zeros((1, 1), np.float32), np.zeros(1, np.float32))


@pytest.fixture(scope="module", params=KINDS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    kind = "seq2seq" if request.param == "seq2seq" else "causal"
    return save_tiny_writer(tmp_path_factory.mktemp(request.param), kind, chat=request.param == "chat")


Load = Callable[..., Generator]


@pytest.fixture(scope="module")
def load(device: str) -> Load:
    """Loads a folder's model, with other values of its spec where some are given."""

    def loaded(folder: Path, **changes: object) -> Generator:
        spec = {"device": device, "threads": 1, "max_new_tokens": 6, **changes}
        return Generator.load(TextSpec(str(folder), **spec))  # type: ignore[arg-type]

    return loaded


@pytest.fixture(scope="module")
def generator(folder: Path, load: Load) -> Generator:
    return load(folder)


@pytest.fixture(scope="module")
def rounding(device: str) -> float:
    """How far two computations of a mean log-probability may be from each other."""
    return 1e-5 if device == "cpu" else BFLOAT16


def texts(found: object) -> list[list[str] | None]:
    return [None if one is None else [w.text for w in one] for one in found]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------------------ writing
def test_what_is_written_does_not_depend_on_the_batch(
    folder: Path, generator: Generator, load: Load, rounding: float
) -> None:
    together = load(folder, batch_tokens=10_000).write(PROMPTS)
    alone = [load(folder).write([prompt])[0] for prompt in PROMPTS]
    assert texts(together) == texts(alone)
    assert any(texts(together))
    for a, b in zip(together, alone, strict=True):
        assert [w.logp for w in a or ()] == pytest.approx([w.logp for w in b or ()], abs=rounding)


def test_it_is_the_greedy_text_of_transformers(folder: Path, generator: Generator) -> None:
    auto = AutoModelForSeq2SeqLM if generator.paired else AutoModelForCausalLM
    ids = torch.tensor([generator.source(PROMPTS[1])])
    out = auto.from_pretrained(str(folder)).generate(ids, max_new_tokens=6, do_sample=False)[0].tolist()
    new = out[1:] if generator.paired else out[ids.shape[1] :]
    assert texts(generator.write([PROMPTS[1]])) == [[generator.tokenizer.decode(new, skip_special_tokens=True).strip()]]


def test_a_text_has_the_log_probability_that_its_score_is(generator: Generator) -> None:
    """Of texts that came to their end the tokens are those of the text itself."""
    for prompt, found in zip(PROMPTS, generator.write(PROMPTS), strict=True):
        for written in found or ():
            if len(written.text.split()) < 6:
                assert generator.score([prompt], [written.text])[0] == pytest.approx(written.logp, abs=1e-5)
    assert (generator.score(PROMPTS, ["the city"] * 4) < 0).all()


def test_a_score_is_the_mean_log_probability_by_hand(generator: Generator, rounding: float) -> None:
    source, target = generator.source("who is"), generator.target("the city")

    def tokens(ids: list[int]) -> torch.Tensor:
        return torch.tensor([ids], device=generator.device)

    assert target[-1] == generator.ends[0]
    with torch.inference_mode():
        if generator.paired:
            start = generator.model.config.decoder_start_token_id
            written = tokens([start, *target[:-1]])
            logits = generator.model(input_ids=tokens(source), decoder_input_ids=written).logits[0]
        else:
            logits = generator.model(input_ids=tokens(source + target)).logits[0, len(source) - 1 : -1]
    logps = torch.log_softmax(logits.cpu(), dim=1)[torch.arange(len(target)), torch.tensor(target)]
    together = generator.score(["what is the number of the river", "who is"], ["of the man in the city", "the city"])
    assert together[1] == pytest.approx(float(logps.mean()), abs=rounding)


def test_several_candidates_are_distinct_and_best_first(folder: Path, load: Load) -> None:
    found = load(folder, candidates=3).write(PROMPTS)
    assert max(len(one or ()) for one in found) > 1
    for one in found:
        assert len({w.text for w in one or ()}) == len(one or ())


def test_what_is_drawn_beside_a_text_is_repeatable_and_does_not_change_it(
    folder: Path, generator: Generator, load: Load
) -> None:
    writers = [load(folder, samples=20) for _ in range(2)]
    state = torch.get_rng_state()
    first, again = (writer.write(PROMPTS[:2]) for writer in writers)
    assert torch.equal(state, torch.get_rng_state())
    assert first == again
    assert texts(first) == texts(generator.write(PROMPTS[:2]))
    for (written,), (plain,) in zip(first, generator.write(PROMPTS[:2]), strict=True):  # type: ignore[misc]
        assert written.logp == pytest.approx(plain.logp, abs=1e-5)
        assert len(written.drawn) == 20
        assert len(set(written.drawn)) > 5  # the tiny model is sure of nothing
        assert plain.drawn == ()


def test_long_prompts_are_cut_and_the_frame_of_a_chat_is_kept(folder: Path, load: Load) -> None:
    short = load(folder, max_tokens=8)
    ids = short.source("who is " * 30)
    assert len(ids) <= 8
    if short.tokenizer.chat_template:
        said = short.tokenizer.convert_ids_to_tokens(ids)
        assert (said[0], said[-1]) == ("<user>", "<assistant>")
    whole, cut = short.target("the " * 5), short.target("the " * 30)
    assert (len(whole), whole[-1]) == (6, short.ends[0])
    assert len(cut) == 6
    assert short.ends[0] not in cut  # it is not to learn to stop there


def test_the_beginning_of_a_long_prompt_is_read_whatever_its_tokenizer_would_cut(
    folder: Path, load: Load, tmp_path: Path
) -> None:
    left = shutil.copytree(folder, tmp_path / "left")
    config = json.loads((left / "tokenizer_config.json").read_text())
    (left / "tokenizer_config.json").write_text(json.dumps({**config, "truncation_side": "left"}))
    prompt = "who is " * 30 + "where"
    assert load(left, max_tokens=8).source(prompt) == load(folder, max_tokens=8).source(prompt)


@pytest.mark.parametrize(
    ("template", "forced", "language"),
    [
        ("$A <end> <user>", None, []),
        ("<user> $A <end>", None, [3]),
        ("<end> <user> $A <end>", None, [3]),
        ("<user> $A <end>", 4, [4]),
        ("$A <end>", 4, [4]),
    ],
)
def test_a_text_is_learned_as_it_is_written_whatever_a_tokenizer_puts_around(
    tmp_path: Path, load: Load, template: str, forced: int | None, language: list[int]
) -> None:
    writer = load(save_tiny_writer(tmp_path, "seq2seq"))
    texts = ["the city", "nobody the"]  # the first word of the second one is unknown
    plain = [writer.target(text) for text in texts]
    special = [("<end>", 0), ("<user>", 3)]
    writer.tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(template, special_tokens=special)
    writer.tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<assistant>"]})
    writer.model.generation_config.forced_bos_token_id = forced
    assert [writer.target(text) for text in texts] == [[*language, *ids] for ids in plain]


def test_a_tokenizer_without_a_language_to_write_takes_the_one_it_reads(tmp_path: Path, load: Load) -> None:
    writer = load(save_tiny_writer(tmp_path, "seq2seq"))
    writer.tokenizer.src_lang, writer.tokenizer.tgt_lang = "en", None
    assert Generator(writer.model, writer.tokenizer, writer.spec, "0").tokenizer.tgt_lang == "en"


def test_what_a_model_was_made_to_write_before_does_not_bind_it(folder: Path, generator: Generator, load: Load) -> None:
    asked = {"min_length": 40, "no_repeat_ngram_size": 1, "repetition_penalty": 3.0, "suppress_tokens": [5, 6, 7, 8]}
    config = folder / "generation_config.json"
    before = config.read_text()
    config.write_text(json.dumps({**json.loads(before), **asked}))
    try:
        bound = load(folder)
    finally:
        config.write_text(before)
    assert texts(bound.write(PROMPTS)) == texts(generator.write(PROMPTS))


def test_a_draft_below_a_long_prompt_is_read_to_its_end(folder: Path, load: Load) -> None:
    short = load(folder, max_tokens=12)
    for prompt in ("who is", "who is the tall man in the city " * 9):
        read = [
            short.tokenizer.convert_ids_to_tokens(short.source(short.with_draft(prompt, draft)))
            for draft in ("a river", "the number of")
        ]
        assert all(len(tokens) <= 12 for tokens in read)
        assert "river" in read[0]
        assert read[1].index("number") < read[1].index("of", read[1].index("number"))
        assert all("who" in tokens for tokens in read)


def test_a_prompt_leaves_room_for_the_text(folder: Path, load: Load) -> None:
    """The tiny causal model has 128 places for both."""
    roomy = load(folder, max_new_tokens=100, max_tokens=500)
    assert len(roomy.source("who is " * 300)) <= (500 if roomy.paired else 28)
    if not roomy.paired:
        with pytest.raises(ModelError, match="128 tokens"):
            load(folder, max_new_tokens=128)


def test_a_decoder_without_places_for_the_text_is_refused(tmp_path: Path, load: Load) -> None:
    folder = save_tiny_writer(tmp_path, "seq2seq")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 32}))
    assert load(folder, max_new_tokens=31).longest == 32
    with pytest.raises(ModelError, match="32 tokens"):
        load(folder, max_new_tokens=32)
    relative = save_tiny_writer(tmp_path / "relative", "seq2seq")  # its tokenizer says 512, which bounds what is read
    assert load(relative, max_new_tokens=600).longest == 512


# ---------------------------------------------------------------------------------------------------------------- time
def test_without_time_it_remembers_and_writes_nothing(generator: Generator) -> None:
    known = generator.write(["where"])
    assert generator.within(0).write(["where", "tall tall"]) == [known[0], None]
    assert generator.within(60).write(["tall tall"])[0] is not None
    assert generator.within(0).write(["tall tall"])[0] is not None  # the memory is one


def test_what_is_not_finished_in_time_is_not_told(folder: Path, monkeypatch: pytest.MonkeyPatch, load: Load) -> None:
    endless = load(folder, samples=2)
    endless.spec = replace(endless.spec, max_new_tokens=100_000)
    endless.ends = [1_000]  # a token that it does not say
    rows, generate = [], endless.model.generate

    def watched(**how: object) -> object:
        rows.append(generate(**how))
        return rows[-1]

    monkeypatch.setattr(endless.model, "generate", watched)
    assert endless.within(0.3).write(["where"]) == [None]
    assert len(rows) == 1  # it had begun, and nothing was drawn beside what is not told


def test_no_memory_for_a_batch_is_memory_for_its_halves(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, generate, sizes = generator.write(PROMPTS), generator.model.generate, []
    fresh = generator.within(60)
    fresh._memory = {}

    def small(input_ids: torch.Tensor, **more: object) -> object:
        sizes.append(len(input_ids))
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("no")
        return generate(input_ids=input_ids, **more)

    monkeypatch.setattr(generator.model, "generate", small)
    assert texts(fresh.write(PROMPTS)) == texts(expected)
    assert max(sizes) > 1


def test_threads_do_not_stand_in_each_others_way(folder: Path, generator: Generator, load: Load) -> None:
    prompts = [f"{word} is {other}" for word in ("who", "what", "where") for other in ("man", "city", "river", "far")]
    fresh, cut = load(folder), load(folder, max_tokens=3)
    cut._lock, cut.tokenizer = fresh._lock, fresh.tokenizer
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda at: (fresh, cut)[at % 2].source(prompts[at % 12] * 50), range(400)))
    assert made[:24:2] == [generator.source(prompt * 50) for prompt in prompts[::2] * 2]
    assert {len(ids) for ids in made[1::2]} <= {3, *(len(cut.source(p * 50)) for p in prompts)}


def test_what_is_drawn_is_the_same_beside_other_threads_that_draw(folder: Path, load: Load) -> None:
    def drawn(writer: Generator) -> list[list[tuple[str, ...]]]:
        return [[w.drawn for w in one or ()] for one in writer.write(PROMPTS)]

    alone = drawn(load(folder, samples=20))
    writers = [load(folder, samples=20) for _ in range(6)]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(drawn, writers)) == [alone] * 6


# ------------------------------------------------------------------------------------------------------------- loading
def test_weights_template_and_cut_have_names(folder: Path, generator: Generator, load: Load) -> None:
    assert load(folder, max_new_tokens=9, candidates=2, beams=3).base_id == generator.base_id
    for change in ({"prompt": "Say:"}, {"max_tokens": 9}):
        assert load(folder, **change).base_id != generator.base_id


def test_a_model_that_does_not_write_is_refused(tmp_path: Path, load: Load) -> None:
    with pytest.raises(ModelError, match="weights"):
        load(save_tiny_bert(tmp_path))
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "nowhere")
    assert "TEXT_MODEL" in caught.value.sentence()


def test_a_padding_token_that_the_model_does_not_know_is_not_read(
    folder: Path, generator: Generator, load: Load, tmp_path: Path
) -> None:
    padded = shutil.copytree(folder, tmp_path / "padded")
    tokenizer = AutoTokenizer.from_pretrained(str(padded))
    tokenizer.add_special_tokens({"pad_token": "<new>"})
    tokenizer.save_pretrained(str(padded))
    assert texts(load(padded).write(PROMPTS)) == texts(generator.write(PROMPTS))


# ------------------------------------------------------------------------------------------------------------ training
PAIRS = {"how many": "number", "who": "the man", "where is the man": "in the city", "far": "tall river"}


def test_it_learns_what_was_written_and_where_to_stop_and_the_base_stays(
    folder: Path, generator: Generator, tmp_path: Path
) -> None:
    before = {n: p.clone() for n, p in generator.model.named_parameters()}
    scores = generator.score(list(PAIRS), list(PAIRS.values()))
    task = TextTask(list(PAIRS), [(text,) for text in PAIRS.values()], START)
    seen: list[int] = []
    trained = train_writer(generator, {"answer": task}, RECIPE, lambda step, *_: seen.append(step))
    trained.save(tmp_path)
    adapted = generator.adapted(tmp_path)
    assert seen == list(range(1, 121))
    assert texts(adapted.write(list(PAIRS))) == [[text] for text in PAIRS.values()]
    assert (adapted.score(list(PAIRS), list(PAIRS.values())) > scores + 0.5).all()
    assert all(torch.equal(p, before[n]) for n, p in generator.model.named_parameters())
    assert adapted.base_id != generator.base_id
    adapted.save_texts(tmp_path)
    assert texts(generator.adapted(tmp_path).within(0).write(list(PAIRS))) == [[text] for text in PAIRS.values()]


def test_an_adapter_goes_to_all_linear_layers_but_the_logits(generator: Generator, tmp_path: Path) -> None:
    model = attach(generator, RECIPE)
    model.save_pretrained(str(tmp_path))
    targets = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert targets
    assert not any("lm_head" in name for name in targets)


def test_several_texts_of_an_example_count_as_one(generator: Generator) -> None:
    """Thrice the same text is no more than once, in the sum of the losses of all examples."""
    losses = []
    for given in ([("number",), ("the man",)], [("number", "number", "number"), ("the man",)]):
        n = sum(map(len, given))
        recipe = Recipe(text_steps=4, text_batch_size=n, text_learning_rate=1e-9)  # four passes that change nothing
        task = TextTask(["how many", "who"], given, START)
        losses.append(train_writer(generator, {"a": task}, recipe, lambda *_: None).loss * n)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
