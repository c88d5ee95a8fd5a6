"""PostgreSQL from Kafka: an empty Redis and an empty database, and then the same inboxes."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from history.schema.migrate import migrate
from tests.conftest import MakeStack
from tests.kafka.checks import check_all_acknowledged
from tests.kafka.restore.test_command import ALWAYS, burn, restore
from tests.support.clients.api import Api
from tests.support.clients.event_stream import until_published
from tests.support.clients.socket_client import Client
from tests.support.processes.process import free_port
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import EVENTS, Broker
from tests.support.stores.postgres import session_postgres
from tests.support.waiting import until

USERS = ("ann", "bob", "cleo")
TABLES = ("publications", "receipts", "writes", "dead_letters")
"""`mirrors` does not come back: `mirrored` events are not mirrored."""
STATES = ("users", "room_members")


def sql(stack: Stack, text: str) -> str:
    return session_postgres(free_port()).sql(stack.database_url, text)


def rows(stack: Stack, *tables: str) -> dict[str, list[str]]:
    """All rows of tables, each as PostgreSQL writes it."""
    return {table: sorted(sql(stack, f"SELECT t FROM {table} t").splitlines()) for table in tables}


async def told(api: Api, ids: list[str]) -> dict[str, Any]:
    """What users are told: whole inboxes, unread counts, and the stories of notifications."""
    found: dict[str, Any] = {}
    for user in USERS:
        found[user] = (await api.inbox(user, limit=100), await api.unread(user))
    for an_id in ids:
        story = await api.story(an_id, receipts="read")
        for channel in story["channels"]:
            channel.pop("mirrors", None)
        story["channels"].sort(key=lambda channel: channel["channel"])
        found[an_id] = story
    return found


async def use(stack: Stack, api: Api) -> list[str]:
    """Send and read this and that."""
    ids = []
    for user in USERS:
        await api("POST", "/users", json={"id": user})
        await api.join("red", user)
    await api.join("blue", "bob")
    await asyncio.sleep(0.01)
    async with Client(stack.ws_urls[0], user="ann", room="red") as ann:
        ids.append(await api.send("private", ["ann", "bob"], email="a@b.example"))
        ids.append(await api.send("room", ["red", "blue"], data={"deep": [1, {"x": None}]}))
        ids.append(await api.send("broadcast", message="h\u00e9 \u2028"))
        await until(lambda: set(ids) <= set(ann.ids))
        await ann.ask({"action": "ack", "id": ids[0]})
        await ann.ask({"action": "read", "id": ids[1]})
    ids.append(stack.push_expired("room", "blue"))
    stack.valkey.command("LPUSH", "rc:{0}:jobs:high", '{"id":"dead-1","no":"job"}')
    await api.arrived("bob", ids[2], ids[1], ids[0])
    assert await api.read("bob", ids[2]) == 204
    assert await api.read_all("cleo") == 2
    await asyncio.sleep(0.01)
    ids.append(await api.send("room", "red"))
    await api.leave("blue", "bob")
    for user in USERS:
        await api.arrived(user, ids[4])
    return ids


async def check_written(stack: Stack) -> None:
    """Kafka and the database have all there is."""
    await until(lambda: _sockets(stack), "the gateway reports what it wrote")
    for group in ("kafka", "history", "kafka", "history"):
        # What is mirrored is told to history, and its entry is read by the bridge in turn.
        await check_all_acknowledged(stack, group)


async def _sockets(stack: Stack) -> bool:
    found = await asyncio.to_thread(sql, stack, "SELECT count(DISTINCT channel) FROM writes")
    return int(found) == 3


def lose_everything(stack: Stack) -> None:
    """An empty Redis and an empty database; nothing runs."""
    for name in stack.names("gateway") + stack.names("history"):
        stack.processes[name].stop()
    burn(stack)
    sql(stack, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")


async def start(stack: Stack, *kinds: str) -> None:
    for kind in kinds:
        for name in stack.names(kind):
            await asyncio.to_thread(stack.start, name)


async def test_an_empty_database_is_as_it_was(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(history=1, bridges=1, **tansu.settings("history,kafka"))
    async with Api(stack) as api:
        ids = await use(stack, api)
        await check_written(stack)
        before = await told(api, ids)
        kept = rows(stack, *TABLES, *STATES)
    assert [before[user][1] for user in USERS] == [3, 3, 1]
    assert all(kept[table] for table in ("publications", "receipts", "writes"))
    assert "dead-1" in kept["dead_letters"][0]
    lose_everything(stack)

    status, said = await restore(stack)
    assert status == 0, said
    await start(stack, "history")
    await check_all_acknowledged(stack, "history")
    assert rows(stack, *TABLES, *STATES) == kept

    await start(stack, "server", "worker", "gateway", "bridge")
    async with Api(stack) as api:
        assert await told(api, ids) == before
        # Once from the cache, too.
        assert await told(api, ids) == before
        status, said = await restore(stack)
        assert status == 0, said
        assert "wrote 0 events and 0 of" in said
        assert rows(stack, *TABLES, *STATES) == kept
        assert await told(api, ids) == before
        new = await api.send("room", "red")
        await api.arrived("cleo", new)
        assert await api.unread("cleo") == before["cleo"][1] + 1


async def test_what_is_written_twice_is_there_once(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(history=1, bridges=1, **tansu.settings("history,kafka"))
    async with Api(stack) as api:
        ids = await use(stack, api)
        await check_written(stack)
        before, kept = await told(api, ids), rows(stack, *TABLES, *STATES)
    for name in stack.names("gateway") + stack.names("history"):
        stack.processes[name].stop()
    burn(stack)  # and the database stays
    status, said = await restore(stack)
    assert status == 0, said
    await start(stack, "history", "server", "worker", "gateway")
    await check_all_acknowledged(stack, "history")
    async with Api(stack) as api:
        assert rows(stack, *TABLES, *STATES) == kept
        assert await told(api, ids) == before


async def test_what_was_before_since_stays_away_also_where_it_was_repeated_later(
    tansu: Broker, make_stack: MakeStack
) -> None:
    # Nothing is trimmed from the stream before history has begun.
    stack = make_stack(database=True, bridges=1, **tansu.settings("history,kafka"))
    await migrate(stack.database_url)
    async with Api(stack) as api:
        old = [await api.send("private", user) for user in USERS]
        await until_published(stack, 3)
        assert await api.read("ann", old[0]) == 204
        await asyncio.sleep(1.1)
        since = datetime.now(UTC)
        await asyncio.sleep(0.1)
        new = [await api.send("private", user) for user in USERS]
        await until_published(stack, 6)
        assert await api.read("bob", old[1]) == 204
    await check_all_acknowledged(stack, "kafka")
    # A bridge that was killed sends again what is older than what Kafka has already.
    first = len(await asyncio.to_thread(tansu.consume, EVENTS, 8))
    stack.processes["bridge-1"].stop()
    stack.valkey.command("XGROUP", "DESTROY", KEYS.events, "kafka")
    await asyncio.to_thread(stack.restart, "bridge-1")
    assert len(await asyncio.to_thread(tansu.consume, EVENTS, 2 * first)) == 2 * first
    stack.add("history")
    lose_everything(stack)
    status, said = await restore(stack, since.isoformat())
    assert status == 0, said
    await start(stack, "history", "server")
    await check_all_acknowledged(stack, "history")
    async with Api(stack) as api:
        assert await api.ids("ann") == [new[0]]
        assert await api.ids("bob") == [new[1]]
        assert (await api("GET", f"/notifications/{old[2]}")).status == 404
    # The reading of what is not there was after it.
    receipts = sql(stack, "SELECT notification, user_id FROM receipts").splitlines()
    assert receipts == [f"{old[1]}|bob"]
    status, said = await restore(stack, ALWAYS)
    assert status == 0, said
    assert "wrote 0 events" in said


async def test_only_the_database_was_lost(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(history=1, bridges=1, **tansu.settings("history,kafka"))
    async with Api(stack) as api:
        ids = await use(stack, api)
        await check_written(stack)
        before, kept = await told(api, ids), rows(stack, *TABLES, *STATES)
        stack.processes["history-1"].stop()
        sql(stack, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        late = await api.send("room", "red")

        settings = {**tansu.settings("history"), "DATABASE_URL": stack.database_url}
        second = make_stack(servers=0, workers=0, gateways=0, **settings)
        status, said = await restore(second)
        assert status == 0, said
        name = second.add("history")
        await asyncio.to_thread(second.start, name)
        await check_all_acknowledged(second, "history")
        second.processes[name].stop()

        stack.valkey.command("XGROUP", "SETID", KEYS.events, "history", "0")
        await start(stack, "history")
        await api.arrived("cleo", late)
        after = rows(stack, *TABLES, *STATES)
        for table, found in kept.items():
            assert set(found) <= set(after[table])
            assert len(after[table]) == len(found) + (table == "publications")
        assert await api.unread("cleo") == before["cleo"][1] + 1
