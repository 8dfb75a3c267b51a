"""A label config may name the strategy; whatever it says, there is one that can be used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.active.selection import parse
from backend.pipeline import mirror, publish, retrain
from backend.pipeline.encode import encode_pool
from backend.pipeline.parts import Parts
from backend.pipeline.ranking import rank, view
from backend.studio.client import Studio
from backend.studio.connect import WANTED
from backend.studio.identity import project_key
from backend.studio.schema import parse_schema
from backend.studio.strategy import MAX_CHARS, strategy_of
from tests.fakes import CONFIG, text_of


def naming(name: str) -> str:
    return CONFIG.replace("<View>", f'<View strategy="{name}">')


@pytest.mark.parametrize("name", ["badge", " herding ", "margin:0.7+density:0.3@balanced@stochastic"])
@pytest.mark.parametrize("tag", ["<View", "<Choices"])
def test_the_named_strategy_is_used_and_is_no_new_schema(name: str, tag: str) -> None:
    config = CONFIG.replace(tag, f'{tag} strategy="{name}"', 1)
    found = strategy_of(config, "auto")
    assert (found.name, found.source, found.problem) == (name.strip(), "label config", "")
    assert parse_schema(config).hash == parse_schema(CONFIG).hash
    assert strategy_of(f"<?xml version='1.0' encoding='utf-8'?><!-- <!DOCTYPE html> -->{config}", "auto") == found


@pytest.mark.parametrize("config", [CONFIG, naming(""), CONFIG.replace("<Text", '<Text strategy="badge"')])
def test_a_config_that_names_none_leaves_it_to_the_setting(config: str) -> None:
    assert strategy_of(config, "random").name == "random"
    assert strategy_of(config, "random").source == "setting"
    assert strategy_of(config, "random").problem == ""


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (naming("best"), "unknown strategy 'best'; known: auto, random"),
        (naming("badge@best"), "@balanced, @stochastic"),
        (naming("margin:-1"), "positive number"),
        (naming("skactiveml:NoSuchClass"), "scikit-activeml"),
        (naming("x" * (MAX_CHARS + 1)), "characters"),
        (naming("badge").replace("<Choices", '<Choices strategy="margin"'), "'badge', 'margin'"),
    ],
)
def test_a_name_that_cannot_be_used_is_said_with_what_is_known(config: str, said: str) -> None:
    found = strategy_of(config, "herding")
    assert (found.name, found.source) == ("herding", "setting")
    assert said in found.problem
    assert "'herding' (the setting) is used" in found.hint


@pytest.mark.filterwarnings("ignore")
def test_a_class_of_another_library_that_wants_more_is_said() -> None:
    pytest.importorskip("skactiveml")
    found = strategy_of(naming("skactiveml:ExpectedErrorReduction"), "auto")
    assert found.name == "auto"
    assert "more than a classifier" in found.problem


@pytest.mark.studio
def test_label_studio_serves_the_order_of_the_strategy_that_its_project_names(parts: Parts, admin: Studio) -> None:
    parts.make_studio = lambda _: admin
    parts.settings = parts.settings.model_copy(update={"window": 10})
    project = int(admin.create_project("named", CONFIG)["id"])
    admin.import_tasks(project, [{"data": {"text": text_of(n)[0]}} for n in range(30)])
    admin.update_project(project, label_config=naming("k-center"), **WANTED)
    key = project_key(admin.project(project))
    mirror.reconcile(parts, key)
    version = retrain.cold_start(parts, parts.registry.must_project(key)).name
    encode_pool(parts, key, version, lambda *_: None)
    publish.plan(parts, key, version, version)
    publish.push(parts, key, version, version)
    publish.switch(parts, key, version, version, "test")

    def best(strategy: str) -> list[int]:
        parts.settings = parts.settings.model_copy(update={"strategy": strategy})
        known = parts.registry.must_project(key)
        ranking = rank(parts, view(parts, known, publish.load(parts, known, version)), 10, refit=False)
        return [pick.task_id for pick in ranking.picks]

    served = [task for task, _ in admin.queue(project, 10)]
    assert served == best("margin") == best("random"), "the setting is overridden"
    admin.update_project(project, label_config=naming("best"))
    mirror.reconcile(parts, key)
    assert best("margin") != served
    publish.resort(parts, key)
    fast = parts.settings.fast_top
    assert [task for task, _ in admin.queue(project, fast)] == best("margin")[:fast]


@given(st.text(max_size=80), st.sampled_from(["{}", "<View>{}</View>", naming("{}")]))
def test_any_config_gives_a_strategy_that_can_be_used(text: str, around: str) -> None:
    assert parse(strategy_of(around.replace("{}", text), "margin").name)
