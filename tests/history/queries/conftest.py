"""A database of the history writer, filled as the writer fills it; each test has its own client."""

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from common.events.event import Event
from common.model.timestamps import format_time
from history.schema.migrate import migrate
from history.writing.partitions import Partitions
from history.writing.rows import read_events
from history.writing.store import Store
from tests.support.processes.process import free_port
from tests.support.stores.postgres import session_postgres

NOW_MS = time.time_ns() // 1_000_000
HOUR_MS = 3_600_000
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def url() -> str:
    """A database with the tables of this version."""
    found = session_postgres(free_port()).make_database()
    asyncio.run(migrate(found))
    return found


@pytest.fixture
async def connection(url: str) -> AsyncIterator[Any]:
    opened = await asyncpg.connect(url)
    yield opened
    await opened.close()


class ClientHistory:
    """What happened to one client; times are Unix times in milliseconds.

    Args:
        store: writes it.
        client: id.
    """

    def __init__(self, store: Store, client: str) -> None:
        self._store = store
        self.client = client

    async def write(
        self, kind: str, channel: str, at_ms: int, body: Any, extra: bytes = b""
    ) -> Event:
        """Write what an event makes, and return the event."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        scoped = channel and f"{self.client}/{channel}"
        event = Event(f"{at_ms}-{next(_numbers)}", kind, scoped, "w1", text, extra)
        batch = read_events([event])
        assert not batch.malformed, batch.malformed
        _, outside = await self._store.write(batch.rows)
        assert not outside
        return event

    async def publish(
        self,
        channel: str,
        an_id: str,
        at_ms: int = NOW_MS,
        *,
        published_ms: int | None = None,
        offset: int = 1,
        **fields: Any,
    ) -> None:
        """Write a publication; by default it was created and published at once."""
        kind, _, target = channel.partition(":")
        frame = {
            "type": {"user": "private"}.get(kind, kind), "id": an_id, "userId": "2",
            "target": target or None, "message": an_id, "priority": "high",
            "createdAt": format_time(at_ms), "epoch": "e", "offset": offset,
        }  # fmt: skip
        when = at_ms if published_ms is None else published_ms
        await self.write("published", channel, when, frame | fields)

    async def expire(self, channel: str, an_id: str, at_ms: int = NOW_MS) -> None:
        body = {"id": an_id, "userId": "2", "priority": "low", "createdAt": format_time(at_ms)}
        await self.write("expired", channel, at_ms, body)

    async def receipt(self, kind: str, user: str, an_id: str, at_ms: int = NOW_MS) -> None:
        body = {"id": an_id, "userId": user, "at": format_time(at_ms)}
        await self.write(kind, f"user:{user}", at_ms, body)

    async def change(self, kind: str, user: str, at_ms: int = NOW_MS, **fields: Any) -> None:
        """Write a change of a user or a membership."""
        body = {"userId": user, "at": format_time(at_ms), **fields}
        await self.write(kind, f"user:{user}", at_ms, body)

    async def join(self, user: str, room: str, at_ms: int = NOW_MS) -> None:
        await self.change("member-joined", user, at_ms, room=room)


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    made = Store(url, Partitions(30))
    yield made
    made.drop_connections()


@pytest.fixture
def mine(store: Store) -> ClientHistory:
    """The history of a client that no other test has."""
    return ClientHistory(store, uuid.uuid4().hex)


@pytest.fixture
def theirs(store: Store) -> ClientHistory:
    """The history of another client."""
    return ClientHistory(store, uuid.uuid4().hex)
