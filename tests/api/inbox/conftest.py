"""One stack with history for all tests here that break nothing."""

import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.clients.api import Api
from tests.support.processes.stack import Stack


@pytest.fixture(scope="session")
def inbox_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("inbox"), history=1) as shared:
        yield shared


@pytest.fixture
async def api(inbox_stack: Stack) -> AsyncIterator[Api]:
    async with Api(inbox_stack) as api:
        yield api


@pytest.fixture
def user() -> str:
    return f"user-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def room() -> str:
    return f"room-{uuid.uuid4().hex[:8]}"
