"""SIGKILL in the middle of `DELETE /users/{id}`: what was begun is finished after the restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest

from history.queries.users import REMOVED_AT_ONCE
from tests.conftest import MakeStack
from tests.history.stream import fetch, unread
from tests.support.clients.api import Api
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until

MANY = 9 * REMOVED_AT_ONCE
"""Rows of a kind: more than the server removes, as many as a start of the writer does."""
HALF = MANY // 2
KEPT = {"leftovers"}
"""The writer's note whom to look for again, as what waited in a queue may still come."""
pytestmark = pytest.mark.chaos


async def _fill(api: Api, stack: Stack) -> None:
    """Give ann and bob something of every kind, and ann a lot of two."""
    for user in ("ann", "bob"):
        await api("POST", "/users", json={"id": user})
        await api.join("1", user)
        ids = [await api.send("private", user) for _ in range(3)]
        await api.arrived(user, *reversed(ids))
        for number, change in ((0, "read"), (0, "unread"), (1, "archive")):
            path = f"/users/{user}/notifications/{ids[number]}/{change}"
            assert (await api("POST", path)).status == 204

    async def settled() -> bool:
        return await unread(stack) == 0

    await until(settled)
    await fetch(
        stack,
        """
        INSERT INTO publications
        SELECT 'default', 'many' || g, 'user:ann', 'e', g, 'published', 'private', '1', 'ann',
            'high', '', '{}', 'w', now() - g * interval '1 us', now(), false
        FROM generate_series(1, $1::integer) g
        """,
        MANY,
    )
    await fetch(
        stack,
        "INSERT INTO receipts SELECT 'default', 'many' || g, 'ann', 'read', now()"
        " FROM generate_series(1, $1::integer) g",
        MANY,
    )


@asynccontextmanager
async def _held(stack: Stack, *statements: str) -> AsyncIterator[None]:
    """Hold the locks that these statements take, so that others wait for them."""
    connection = await asyncpg.connect(stack.database_url)
    try:
        async with connection.transaction():
            for statement in statements:
                await connection.execute(statement)
            yield
    finally:
        await connection.close()


async def _many_left(stack: Stack) -> int:
    ((number,),) = await fetch(
        stack, "SELECT count(*) FROM publications WHERE notification LIKE 'many%'"
    )
    return int(number)


async def _tables_with(stack: Stack, user: str) -> set[str]:
    """Names of the tables in which a user's id is anywhere."""
    found = await fetch(
        stack,
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND relnamespace = 'public'::regnamespace",
    )
    return {
        name
        for (name,) in found
        if await fetch(stack, rf"SELECT 1 FROM {name} t WHERE t::text ~ '\m{user}\M' LIMIT 1")
    }


async def _is_an_event(stack: Stack) -> bool:
    async with stack.valkey.client() as client:
        entries: Any = await client.xrevrange(KEYS.events, count=10)
    return any(fields["k"] == "user-deleted" for _, fields in entries)


async def _is_changed(stack: Stack) -> bool:
    return bool(await fetch(stack, "SELECT 1 FROM leftovers"))


@pytest.mark.parametrize(
    ("held", "reached"),
    [
        # The event is in the stream, and nothing in the database.
        ("changes", _is_an_event),
        # The user is gone, and what was sent to them is still there.
        ("receipts", _is_changed),
    ],
)
async def test_a_deletion_is_finished_after_server_and_writer_were_killed(
    make_stack: MakeStack, held: str, reached: Any
) -> None:
    stack = make_stack(history=1)
    async with Api(stack) as api:
        await _fill(api, stack)
        before, of_bob = [await _tables_with(stack, user) for user in ("ann", "bob")]
        assert before >= {"users", "room_members", "publications", "receipts", "inbox_archived"}
        async with _held(stack, f"LOCK TABLE {held} IN ACCESS EXCLUSIVE MODE"):
            deleting = asyncio.ensure_future(api("DELETE", "/users/ann"))
            await until(lambda: reached(stack))
            stack.kill("server-1")
            stack.kill("history-1")
            with pytest.raises(aiohttp.ClientError):
                await deleting
        # It stops half way, at a row that is held, and is killed once more.
        row = f"SELECT 1 FROM publications WHERE notification = 'many{HALF}' FOR UPDATE"
        async with _held(stack, row):
            stack.processes["history-1"].start()

            async def begun() -> bool:
                return await _many_left(stack) < MANY

            await until(begun)
            stack.kill("history-1")
        assert 0 < await _many_left(stack) < MANY
        for name in ("history-1", "server-1"):
            await asyncio.to_thread(stack.start, name)

        async def finished() -> bool:
            return await _tables_with(stack, "ann") <= KEPT

        await until(finished, "nothing of the user is in the database")
        assert (await api("GET", "/users/ann")).status == 404
        assert (await api("GET", "/users/ann/rooms")).body["rooms"] == []
        assert (await api.ids("ann"), await api.unread("ann")) == ([], 0)
        async with stack.valkey.client() as client:
            keys = {str(key) async for key in client.scan_iter("*/*ann*")}
        # The position stays, as offsets must not start again; the stamp of the last change expires.
        assert keys <= {"rc:{0}:channel:default/user:ann", "rc:{0}:changes:default/ann"}, keys
        assert await _tables_with(stack, "bob") >= of_bob
        assert len(await api.ids("bob")) == 2, "one of three is archived"
