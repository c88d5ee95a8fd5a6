"""A database of the history writer beside the Valkey, each with a client of the test's own."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from history.schema.migrate import migrate
from tests.support.processes.process import free_port
from tests.support.stores.postgres import session_postgres


@pytest.fixture(scope="session")
def database_url() -> str:
    """A database with the tables of this version."""
    found = session_postgres(free_port()).make_database()
    asyncio.run(migrate(found))
    return found


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def client() -> str:
    """A client application that no other test has."""
    return uuid.uuid4().hex
