"""Archived, marked unread, deleted: in the database, in the cache, on sockets and in the stream."""

from typing import Any

import asyncpg
import pytest

from common.events.event import EventKind
from history.queries.member_changes import Change, apply
from history.schema.migrate import migrate
from tests.conftest import MakeStack
from tests.history.stream import count, fetch, unread
from tests.support.clients.api import Api
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.waiting import until


async def _change(api: Api, user: str, notification: str, what: str) -> int:
    return (await api("POST", f"/users/{user}/notifications/{notification}/{what}")).status


async def test_what_is_marked_unread_is_unread_until_it_is_read_again(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    one, two = [await api.send("private", user) for _ in range(2)]
    await api.arrived(user, two, one)
    assert await api.read_all(user) >= 2
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        assert await _change(api, user, one, "unread") == 204
        await until(lambda: client.told)
        assert client.told == [{"type": "unread", "userId": user, "ids": [one]}]
    assert await api.unread(user) == 1
    assert await api.ids(user, unread="true") == [one]
    items = {item["id"]: item for item in (await api.inbox(user))["notifications"]}
    assert (items[one]["read"], items[one]["readAt"], items[two]["read"]) == (False, None, True)
    assert await api.read(user, one) == 204
    assert await api.unread(user) == 0
    assert await _change(api, user, one, "unread") == 204
    assert await api.unread(user) == 1
    assert await api.read_all(user) == 1
    assert await api.unread(user) == 0


async def test_what_is_archived_is_elsewhere_and_not_counted(
    api: Api, user: str, inbox_stack: Stack
) -> None:
    one, two = [await api.send("private", user) for _ in range(2)]
    await api.arrived(user, two, one)
    before = await api.unread(user)
    async with Client(inbox_stack.ws_urls[0], user=user) as client:
        assert await _change(api, user, one, "archive") == 204
        assert await _change(api, user, one, "archive") == 204
        await until(lambda: client.told)
        assert client.told[0] == {"type": "archived", "userId": user, "ids": [one]}
    assert one not in await api.ids(user)
    assert one not in await api.ids(user, unread="true")
    assert await api.unread(user) == before - 1
    page = await api.inbox(user, archived="true")
    assert [(item["id"], item["archived"]) for item in page["notifications"]] == [(one, True)]
    assert await api.ids(user, archived="true", unread="true") == [one]
    assert await _change(api, user, one, "unarchive") == 204
    assert await api.ids(user, archived="true") == []
    assert one in await api.ids(user, unread="true")
    assert await api.unread(user) == before
    for what in ("archive", "unarchive", "unread"):
        assert await _change(api, user, "nothing", what) == 404


async def test_the_writer_repeats_these_changes_and_nothing_else_happens(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        one, two = [await api.send("private", "ann") for _ in range(2)]
        await api.arrived("ann", two, one)
        stack.processes["history-1"].stop()
        for what in ("archive", "unarchive", "read", "unread"):
            assert await _change(api, "ann", one, what) == 204
        assert await _change(api, "ann", two, "archive") == 204
        tables = ("inbox_unread", "inbox_archived")
        before = [await fetch(stack, f"SELECT * FROM {table} ORDER BY 4") for table in tables]
        assert [len(found) for found in before] == [1, 2]
        stack.start("history-1")

        async def settled() -> bool:
            return await unread(stack) == 0

        await until(settled)
        assert [await fetch(stack, f"SELECT * FROM {table} ORDER BY 4") for table in tables] == (
            before
        )
        assert await api.ids("ann", unread="true") == [one]
        # Without the server's part the writer does it alone.
        for table in tables:
            await fetch(stack, f"DELETE FROM {table}")
        stack.valkey.command("XGROUP", "SETID", KEYS.events, "history", "0")
        stack.processes["history-1"].stop()
        stack.start("history-1")

        async def again() -> bool:
            found = [await fetch(stack, f"SELECT * FROM {name} ORDER BY 4") for name in tables]
            return found == before

        await until(again)


async def test_of_a_deleted_user_nothing_is_left_and_they_may_come_again(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1)
    async with Api(stack) as api:
        await api("POST", "/users", json={"id": "ann"})
        await api.join("1", "ann")
        one, two, three = [await api.send("private", "ann") for _ in range(3)]
        kept = await api.send("private", "bob")
        await api.arrived("ann", three, two, one)
        await api.arrived("bob", kept)
        assert await api.read("ann", one) == 204
        assert await _change(api, "ann", two, "archive") == 204
        assert await api.read("bob", kept) == 204
        async with Client(stack.ws_urls[0], user="ann") as client:
            assert (await api("DELETE", "/users/ann")).status == 204
            await until(lambda: client.close_code is not None)
            assert client.close_code == 4506
        assert (await api("DELETE", "/users/ann")).status == 204
        assert (await api("GET", "/users/ann")).status == 404
        assert (await api("GET", "/users/ann/rooms")).body["rooms"] == []
        assert await api.ids("ann") == []
        assert await api.unread("ann") == 0

        async def settled() -> bool:
            return await unread(stack) == 0

        await until(settled)
        # The receipt, which the writer may have written after it.
        await fetch(stack, "SELECT remove_leftovers(1000, NULL, NULL)")
        for table, column in (
            ("receipts", "user_id"), ("room_members", "user_id"), ("inbox_archived", "user_id"),
            ("inbox_unread", "user_id"), ("inboxes", "user_id"), ("users", "id"),
            ("publications", "target"),
        ):  # fmt: skip
            found = await fetch(stack, f"SELECT * FROM {table} WHERE {column} = 'ann'")
            assert found == [], table
        assert await count(stack, "publications") == 1
        assert stack.valkey.command("EXISTS", KEYS.log_prefix + "default/user:ann") in ("0", 0)
        again = await api.send("private", "ann")
        await api.arrived("ann", again)
        assert await api.ids("ann") == [again]
        # The stream itself may be trimmed by now.
        kind = {"kind": EventKind.USER_DELETED.value}
        assert stack.metric("history-1", "roomcast_history_events_total", **kind) == 2


@pytest.mark.parametrize("first", ["deleted", "joined"])
async def test_a_late_event_of_before_brings_nothing_back(
    make_stack: MakeStack, first: str
) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, database=True)
    await migrate(stack.database_url)
    connection: Any = await asyncpg.connect(stack.database_url)
    changes = {
        "joined": [
            Change(EventKind.USER, "1", "", 100, "4-0"),
            Change(EventKind.MEMBER_JOINED, "1", "r", 100, "5-0"),
        ],
        "deleted": [Change(EventKind.USER_DELETED, "1", "", 200, "6-0")],
    }
    second = "joined" if first == "deleted" else "deleted"
    try:
        for change in (*changes[first], *changes[second], *changes[first]):
            await apply(connection, "default", change)
        for table in ("users", "room_members"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0
        await apply(connection, "default", Change(EventKind.USER, "1", "", 300, "7-0"))
        await apply(connection, "default", changes["deleted"][0])
        assert await connection.fetchval("SELECT count(*) FROM users") == 1
    finally:
        await connection.close()
