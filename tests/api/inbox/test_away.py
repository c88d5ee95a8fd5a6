"""What happens to inboxes when a part of it dies, and that acceptance does not notice."""

import asyncio
import os
import signal
import time
from pathlib import Path

from tests.conftest import MakeStack
from tests.support.clients.api import Api
from tests.support.clients.event_stream import events
from tests.support.clients.socket_client import Client
from tests.support.processes.process import free_port
from tests.support.processes.stack import KEYS
from tests.support.stores.postgres import Postgres
from tests.support.stores.valkey import Valkey
from tests.support.waiting import until

ROUTES = [
    ("GET", "/users/1/notifications?limit=5"),
    ("POST", "/users/1/notifications/1/read"),
    ("POST", "/users/1/notifications/read-all"),
    ("GET", "/users/1"),
    ("GET", "/rooms/1/members"),
    ("PUT", "/rooms/1/members/1"),
    ("DELETE", "/rooms/1/members/1"),
    ("GET", "/notifications"),
    ("GET", "/notifications/1"),
]
INBOX = "rc:{0}:inbox:default/1"
UNREAD = "rc:{0}:unread:default/1"


async def test_without_a_database_every_route_says_that_history_is_off(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(gateways=0, workers=0)
    async with Api(stack) as api:
        for method, path in ROUTES:
            answer = await api(method, path)
            assert (answer.status, answer.body["code"]) == (503, "history-off"), path


async def test_postgres_killed_and_back(make_stack: MakeStack, tmp_path: Path) -> None:
    with Postgres(tmp_path, free_port()) as postgres:
        stack = make_stack(history=1, gateways=0, postgres=postgres)
        async with Api(stack) as api:
            first = await api.send("private", 1)
            await api.arrived("1", first)
            await _cached(api, stack.valkey)
            await asyncio.to_thread(postgres.kill)
            # What the cache knows it goes on telling.
            assert await api.ids("1") == [first]
            for method, path in ROUTES:
                answer = await api(method, path)
                assert answer.status == 503, (path, answer)
                assert answer.headers["retry-after"]
            while_away = [await api.send("private", 1) for _ in range(20)]
            answer = await api("GET", "/users/1/notifications")
            assert (answer.status, answer.body["code"]) == (503, "database-away")
            await asyncio.to_thread(postgres.start)

            async def back() -> bool:
                answer = await api("GET", "/users/1/notifications")
                if answer.status != 200:
                    return False
                ids = [item["id"] for item in answer.body["notifications"]]
                return ids == while_away[::-1]

            await until(back)
            assert await api.unread("1") == 21


async def test_postgres_frozen(make_stack: MakeStack, tmp_path: Path) -> None:
    with Postgres(tmp_path, free_port()) as postgres:
        stack = make_stack(history=1, gateways=0, postgres=postgres)
        async with Api(stack) as api:
            first = await api.send("private", 1)
            await api.arrived("1", first)
            children = [int(pid) for pid in _children(postgres.pid)]
            for pid in (postgres.pid, *children):
                os.kill(pid, signal.SIGSTOP)
            try:
                asked = [api("GET", f"/users/{n}/notifications") for n in range(2, 32)]
                answers = asyncio.gather(*asked)
                for _ in range(50):
                    started = time.monotonic()
                    await api.send("private", 1)
                    assert time.monotonic() - started < 1
                    await asyncio.sleep(0.02)
                assert {answer.status for answer in await answers} == {503}
            finally:
                for pid in (*children, postgres.pid):
                    os.kill(pid, signal.SIGCONT)

            async def back() -> bool:
                answer = await api("GET", "/users/1/notifications/unread-count")
                return answer.status == 200 and bool(answer.body["count"] == 51)

            await until(back)


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_redis_killed_and_back(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        sent = [await api.send("private", 1) for _ in range(3)]
        await api.arrived("1", *reversed(sent))
        await _cached(api, stack.valkey)
        await asyncio.to_thread(stack.valkey.kill)
        assert await api.ids("1") == sent[::-1]
        assert await api.unread("1") == 3
        answer = await api("POST", f"/users/1/notifications/{sent[0]}/read")
        assert (answer.status, answer.body["code"]) == (503, "redis-away")
        await asyncio.to_thread(stack.valkey.start)
        assert await api.ids("1") == sent[::-1]
        assert await api.read("1", sent[0]) == 204
        assert await api.unread("1") == 2


async def test_keys_of_the_cache_may_be_lost_one_by_one(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        sent = [await api.send("private", 1) for _ in range(3)]
        await api.arrived("1", *reversed(sent))
        for key in (UNREAD, INBOX, "rc:{0}:changes:default/1", "rc:{0}:reads:default/1"):
            await _cached(api, stack.valkey)
            stack.valkey.command("DEL", key)
            assert await api.unread("1") == 3
            assert await api.ids("1") == sent[::-1]
        stack.valkey.command("FLUSHALL")
        assert await api.unread("1") == 3


async def test_what_the_writer_has_not_written_is_never_cached_away(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        first = await api.send("private", 1)
        await api.arrived("1", first)
        await _cached(api, stack.valkey)
        stack.kill("history-1")
        assert await api.unread("1") == 1
        second = await api.send("private", 1)

        async def published() -> bool:
            return bool((await api.story(second))["status"] == "published")

        await until(published)
        # The database is behind: what it has is told, and not kept as if it were all.
        for _ in range(3):
            assert await api.ids("1") == [first]
        # A reading counts at once, also of what the database lacks.
        assert await api.read("1", second) == 204
        assert await api.read("1", first) == 204
        assert await api.unread("1") == 0
        third = await api.send("private", 1)

        async def third_published() -> bool:
            return bool((await api.story(third))["status"] == "published")

        await until(third_published)
        assert await api.read_all("1") == 1
        await asyncio.to_thread(stack.start, "history-1")
        await api.arrived("1", third, second, first)
        assert await api.unread("1") == 0
        await _cached(api, stack.valkey)
        assert await api.unread("1") == 0
        fourth = await api.send("private", 1)
        await api.arrived("1", fourth)
        assert await api.unread("1") == 1


async def test_with_a_setting_what_was_delivered_is_read(make_stack: MakeStack) -> None:
    stack = make_stack(history=1, READ_ON_DELIVERY="true")
    async with Api(stack) as api:
        first = await api.send("private", 1)
        await api.arrived("1", first)
        await _cached(api, stack.valkey)
        async with Client(stack.ws_urls[0], user=1) as client:
            second = await api.send("private", 1)
            await until(lambda: second in client.ids)
            await api.arrived("1", second, first)

            async def read() -> bool:
                return await api.ids("1", unread="true") == [first]

            await until(read)
        assert await api.unread("1") == 1


async def test_a_change_of_a_server_that_died_does_not_leave_a_wrong_cache(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        sent = await api.send("private", 1)
        await api.arrived("1", sent)
        await _cached(api, stack.valkey)
        # As the server does it before it changes the database; it never comes back.
        stack.valkey.command("HSET", "rc:{0}:changes:default/1", "m", "1.1", "q", 2**52)
        for _ in range(3):
            assert await api.unread("1") == 1
        assert stack.valkey.command("HGET", INBOX, "m") != "1.1"


async def _cached(api: Api, valkey: Valkey) -> None:
    async def cached() -> bool:
        valkey.command("DEL", INBOX)
        await api.inbox("1")
        return bool(valkey.command("EXISTS", INBOX))

    await until(cached)


async def test_reading_all_while_the_writer_is_away_reads_a_long_log(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(history=1, gateways=0)
    async with Api(stack) as api:
        first = await api.send("private", 1)
        await api.arrived("1", first)
        stack.kill("history-1")
        sent = [await api.send("private", 1) for _ in range(250)]
        key = KEYS.log_prefix + "default/user:1"
        await until(lambda: stack.valkey.command("LLEN", key) == 251)
        assert await api.read_all("1") == 251
        told = [e.body["id"] for e in await events(stack) if e.kind == "read"]
        assert sorted(told) == sorted([first, *sent])
        assert await api.read_all("1") == 0
