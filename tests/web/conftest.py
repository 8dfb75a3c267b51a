"""The application over the parts of the pipeline tests."""

import pytest
from fastapi.testclient import TestClient

from backend.pipeline import mirror
from backend.web.app import create_app
from tests.fakes import KEY


@pytest.fixture
def client(parts):
    with TestClient(create_app(parts, preload=False), raise_server_exceptions=False) as client:
        client.headers["X-LS-Active-Secret"] = parts.settings.webhook_token
        yield client


@pytest.fixture
def known(parts, studio):
    """The project, as the worker knows it after its first look."""
    mirror.reconcile(parts, KEY)
    return parts.registry.must_project(KEY)
