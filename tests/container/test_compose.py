"""The compose file is wired right in either profile; `check.py` runs it, this reads it."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def services(**variables):
    """The services with ``${NAME:-default}`` and ``${NAME:?message}`` replaced, inner ones first, as compose does."""
    text, replaced = TEXT, 1
    while replaced:
        text, replaced = re.subn(
            r"\$\{(\w+)(?::-([^{}]*)|:\?[^{}]*)?\}", lambda m: variables.get(m[1]) or m[2] or "", text
        )
    return yaml.safe_load(text)["services"]


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_connect_runs_the_image_that_its_profile_builds(profile):
    found = services(COMPOSE_PROFILES=profile)
    (built,) = (s for s in found.values() if profile in s.get("profiles", ()))
    assert "build" in built
    assert found["connect"]["image"] == built["image"]
    assert len({s["image"] for s in found.values()}) == 3  # Label Studio and the image of each profile


def test_without_a_profile_it_is_the_cpus():
    assert services()["connect"]["image"] == services()["ls-active"]["image"]


@pytest.mark.parametrize("name", ["ls-active", "ls-active-gpu", "connect"])
def test_the_address_and_the_key_of_another_label_studio_are_passed_on(name):
    ours = services(STUDIO_TOKEN="token")[name]["environment"]
    assert ours["LABEL_STUDIO_URL"] == "http://label-studio:8080"
    assert ours["LABEL_STUDIO_API_KEY"] == "token"
    given = {"LABEL_STUDIO_URL": "https://labels.example.com", "LABEL_STUDIO_API_KEY": "key"}
    assert given.items() <= services(STUDIO_TOKEN="token", **given)[name]["environment"].items()


def test_doctor_looks_for_the_server_in_its_container():
    found = services()
    host = found["connect"]["environment"]["HOST"]
    for server in (found["ls-active"], found["ls-active-gpu"]):
        assert host in server["networks"]["default"]["aliases"]
        assert server["environment"] == {**found["connect"]["environment"], "HOST": "0.0.0.0"}
