"""The README cannot rot: its tables are what the program prints, and every command and setting is described."""

import re
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from backend.cli import app
from backend.settings import Settings

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
COMMANDS = get_command(app).commands  # type: ignore[attr-defined]


def between(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n?<!-- /{name} -->", README, re.DOTALL)
    assert found, name
    return found[1].strip()


def test_the_settings_table_is_what_the_program_prints():
    printed = CliRunner().invoke(app, ["settings", "--markdown"])
    assert printed.exit_code == 0
    assert between("settings") == printed.output.strip()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described(name):
    assert Settings.model_fields[name].description


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_described_and_has_help(name):
    assert f"`{name}" in between("commands")
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert COMMANDS[name].help


def test_help_is_there_without_the_heavy_imports():
    import subprocess
    import sys

    code = (
        "import sys, backend.cli; print([m for m in ('torch', 'transformers', 'sklearn', 'dbos') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


CONTROLS = re.search(r"```xml\n(.*?)```", README, re.DOTALL)[1].splitlines()[1:]
TEXTS = "".join(f'<Text name="{name}" value="${name}"/>' for name in ("text", "context", "left", "right"))
OBJECTS = f"""{TEXTS}<Paragraphs name="chat" value="$chat"/><List name="items" value="$items"/>
<Labels name="mark" toName="text"><Label value="x"/></Labels>"""


@pytest.mark.parametrize("control", CONTROLS)
def test_every_control_in_the_readme_is_supported(control):
    from backend.studio.schema import read_config

    found = read_config(f"<View>{OBJECTS}{control}</View>")
    assert not found.left_out
    assert len(found.schema.controls) == 2
