"""Users, memberships and what was read through: made twice, late, or by the writer alone."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import pytest

from common.model.channels import DEFAULT_CLIENT
from history.queries.users import find_user
from tests.conftest import MakeStack
from tests.history.stream import add, count, fetch, unread
from tests.support.clients.api import Api
from tests.support.clients.event_stream import events
from tests.support.waiting import until


def entry(kind: str, channel: str, **body: Any) -> dict[str, Any]:
    return {"k": kind, "c": f"default/{channel}", "w": "s1", "p": json.dumps(body)}


async def test_what_a_server_that_died_had_begun_is_done_by_the_writer(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        await api.join("2", "ann")
        old = await api.send("private", "ann")
        await api.arrived("ann", old)
        # Longer ago than publications are kept, and nothing is left out.
        long_ago = "2001-02-03T04:05:06.789Z"
        through = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        await add(
            stack,
            entry("user", "user:bob", userId="bob", at=long_ago),
            entry("member-joined", "room:1", userId="ann", room="1", at=long_ago),
            entry("member-left", "room:2", userId="ann", room="2", at=long_ago),
            entry("read-all", "user:ann", userId="ann", at=through),
            entry("read-all", "user:ann", userId="ann", at=long_ago),
            entry("user", "user:bob", at=long_ago),
            entry("user", "user:bob", userId="b\0b", at=long_ago),
        )

        async def settled() -> bool:
            return await unread(stack) == 0

        await until(settled)
        assert (await api("GET", "/users/bob")).body["createdAt"] == long_ago
        (member,) = (await api("GET", "/rooms/1/members")).body["members"]
        assert member == {"userId": "ann", "joinedAt": long_ago}
        assert (await api("GET", "/rooms/2/members")).body["members"] == []
        assert await api.ids("ann", unread="true") == []
        kind = {"kind": "malformed"}
        assert stack.metric("history-1", "roomcast_history_events_total", **kind) == 1
        refused = stack.metric("history-1", "roomcast_history_refused_rows_total", table="changes")
        assert refused == 1
        assert await count(stack, "users") == 2


async def test_a_writer_that_comes_late_changes_nothing(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        stack.processes["history-1"].stop()
        await api("POST", "/users", json={"id": "ann"})
        for room in ("1", "2"):
            await api.join(room, "ann")
        await api.leave("1", "ann")
        await api.leave("1", "bob")
        await api.read_all("ann")
        states = "SELECT * FROM {0} ORDER BY 1, 2, 3"
        before = [await fetch(stack, states.format(name)) for name in ("users", "room_members")]
        assert [len(found) for found in before] == [1, 3]
        stack.start("history-1")

        async def settled() -> bool:
            return await unread(stack) == 0

        await until(settled)
        after = [await fetch(stack, states.format(name)) for name in ("users", "room_members")]
        assert after == before
    connection = await asyncpg.connect(stack.database_url)
    assert await find_user(connection, DEFAULT_CLIENT, "ann") is not None
    await connection.close()


async def test_a_server_killed_between_the_event_and_the_database(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0)
    connection = await asyncpg.connect(stack.database_url)
    async with Api(stack) as api:
        stack.processes["history-1"].stop()
        async with connection.transaction():
            await connection.execute("LOCK TABLE room_members")
            asked = asyncio.ensure_future(api("PUT", "/rooms/1/members/ann"))

            async def has_event() -> bool:
                return [event.kind for event in await events(stack)] == ["member-joined"]

            await until(has_event)
            stack.kill("server-1")
            with pytest.raises(aiohttp.ClientError):
                await asked
            # PostgreSQL would go on with the statement of a client that is gone.
            await connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await count(stack, "room_members") == 0
        await asyncio.to_thread(stack.start, "server-1")
        await asyncio.to_thread(stack.start, "history-1")

        async def is_member() -> bool:
            found = (await api("GET", "/rooms/1/members")).body["members"]
            return [member["userId"] for member in found] == ["ann"]

        await until(is_member)
    await connection.close()


async def test_without_redis_nothing_changes(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0, workers=0)
    async with Api(stack) as api:
        await asyncio.to_thread(stack.valkey.kill)
        for method, path, options in (
            ("PUT", "/rooms/1/members/ann", {}),
            ("DELETE", "/rooms/1/members/ann", {}),
            ("POST", "/users", {"json": {"id": "ann"}}),
        ):
            answer = await api(method, path, **options)
            assert (answer.status, answer.body["code"]) == (503, "redis-away"), path
        assert (await api("GET", "/users/ann")).status == 404
        await asyncio.to_thread(stack.valkey.start)
        await api.join("1", "ann")
        assert await count(stack, "room_members") == 1
        assert await count(stack, "users") == 0
