"""What settings make: the secret of the webhook, the folder, the address."""

import threading

import pytest
from typer.testing import CliRunner

from backend.cli import app
from backend.errors import UserError
from backend.settings import load_settings


def test_all_who_ask_at_once_get_one_secret(tmp_path):
    folder, found = tmp_path / "data", []
    ask = [threading.Thread(target=lambda: found.append(load_settings(data_dir=folder).webhook_token)) for _ in "12345"]
    for thread in ask:
        thread.start()
    for thread in ask:
        thread.join()
    assert len(found) == 5
    assert len(set(found)) == 1
    assert len(found[0]) > 30
    assert (folder / "webhook.secret").stat().st_mode & 0o777 == 0o600


def test_an_empty_file_is_no_secret(tmp_path):
    """A full disk may leave one; with it everybody would be let in."""
    (tmp_path / "webhook.secret").write_text("\n")
    assert len(load_settings(data_dir=tmp_path).webhook_token) > 30


def test_a_secret_from_a_file_may_end_in_a_line_break(tmp_path):
    """Which no HTTP header may hold."""
    assert load_settings(data_dir=tmp_path, webhook_secret="chosen\n").webhook_token == "chosen"
    assert len(load_settings(data_dir=tmp_path, webhook_secret=" \n").webhook_token) > 30


def test_a_secret_that_is_another_users_is_said(tmp_path):
    (tmp_path / "webhook.secret").mkdir()  # root may read every file
    with pytest.raises(UserError, match=r"webhook\.secret"):
        _ = load_settings(data_dir=tmp_path).known_webhook_token


def test_connect_makes_no_secret_but_says_where_to_run(tmp_path, monkeypatch):
    """One of its own would be refused by the server, and all events lost."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATA_DIR", "WEBHOOK_SECRET"):
        monkeypatch.delenv(name, raising=False)
    error = CliRunner().invoke(app, ["connect", "1", "--backend-url", "http://127.0.0.1:9090"]).exception
    assert isinstance(error, UserError)
    assert str(tmp_path / "data") in str(error)
    assert "WEBHOOK_SECRET" in error.hint
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match="DATA_DIR"):
            _ = load_settings(data_dir=folder).made_data_dir


@pytest.mark.parametrize("url", ["http://us:hidden@studio.example", "http://us@studio.example"])
def test_credentials_in_the_address_of_label_studio_are_refused_and_not_shown(url):
    """They would be in the log, and httpx sends them in place of the key."""
    with pytest.raises(UserError, match="LABEL_STUDIO_URL") as refused:
        load_settings(label_studio_url=url)
    assert "credentials" in str(refused.value)
    assert "hidden" not in refused.value.sentence()


@pytest.mark.parametrize(
    ("host", "address"), [("::1", "[::1]:9090"), ("127.0.0.1", "127.0.0.1:9090"), ("a.b", "a.b:9090")]
)
def test_the_address_is_such_as_urls_have(host, address):
    assert load_settings(host=host, port=9090).address == address


@pytest.mark.parametrize(("user", "password"), [("ls", ""), ("", "secret"), ("l:s", "secret")])
def test_half_of_basic_or_a_user_that_it_cannot_carry_is_refused(user, password):
    """Either half alone would leave the server open, or with an empty password."""
    with pytest.raises(UserError, match="BASIC_AUTH_USER"):
        load_settings(basic_auth_user=user, basic_auth_password=password)


def test_basic_is_both_or_neither():
    assert load_settings(basic_auth_user="ls", basic_auth_password="pass:wörd").basic_auth_user == "ls"
    assert load_settings(basic_auth_user="", basic_auth_password="").basic_auth_user == ""
