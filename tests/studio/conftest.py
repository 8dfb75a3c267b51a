"""One real Label Studio for the tests marked ``studio``, with two users and fresh projects."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.demo.studio_server import StudioServer
from backend.studio.client import Studio
from tests.studio.servers import CONFIG, Server, label_studio, ml_backend, serve

# the SDK renews personal tokens through a method that pydantic deprecates
SDK_DEPRECATION = "ignore:The `parse_obj` method is deprecated"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings(SDK_DEPRECATION))


@pytest.fixture
def backend() -> Iterator[Server]:
    """An ML backend for Label Studio to connect to."""
    with serve(ml_backend) as server:
        yield server


@pytest.fixture(scope="session")
def server() -> Iterator[StudioServer]:
    """One Label Studio for all tests."""
    with label_studio() as running:
        yield running


@pytest.fixture(scope="session")
def admin(server: StudioServer) -> Iterator[Studio]:
    """The first user, with a personal access token."""
    studio = Studio(server.url, server.admin_token(), timeout_s=60)
    yield studio
    studio.close()


@pytest.fixture(scope="session")
def annotator(server: StudioServer) -> Iterator[Studio]:
    """A second user."""
    studio = Studio(server.url, server.add_annotator("second@example.com"), timeout_s=60)
    yield studio
    studio.close()


@pytest.fixture
def project(admin: Studio) -> int:
    """A new project without tasks."""
    return int(admin.create_project("studio tests", CONFIG)["id"])


@pytest.fixture
def tasks(admin: Studio, project: int) -> list[int]:
    """Ids of twelve tasks of the project."""
    return admin.import_tasks(project, [{"data": {"text": f"text {i}"}} for i in range(12)])
