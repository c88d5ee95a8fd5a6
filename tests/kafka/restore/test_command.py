"""`kafka_bridge/restore/command.py`: Redis from Kafka.

Positions resume, logs and events are back; twice; and never over something else.
"""

import asyncio
import subprocess
import sys
from typing import Any

from redis.asyncio import Redis

from common.model.publication import Position, parse_publication
from common.redis.shards import Shards
from tests.conftest import MakeStack
from tests.kafka.checks import (
    check_all_acknowledged,
    check_mirror,
    notifications,
    room,
    send_many,
)
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.job_queue import Queue
from tests.support.stores.kafka import EVENTS, Broker
from tests.support.waiting import until

ALWAYS = "2026-01-01T00:00:00Z"


async def restore(stack: Stack, since: str = ALWAYS) -> tuple[int, str]:
    """Run the command: status and what it said."""

    def run() -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-m", "kafka_bridge", "restore", "--since", since],
            cwd=stack.folder,
            env=stack.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return await asyncio.to_thread(run)


async def content(stack: Stack) -> dict[str, Any]:
    """Everything in Redis but the times at which keys expire."""
    found: dict[str, Any] = {}
    async with stack.valkey.client() as client:
        connection: Any = client
        async for key in connection.scan_iter("*"):
            kind = await connection.type(key)
            if kind == "hash":
                found[key] = await connection.hgetall(key)
                if key.startswith(KEYS.channel_prefix):
                    # When expiry is put off next; it has nothing to do with what was published.
                    found[key].pop("t", None)
            elif kind == "list":
                found[key] = await connection.lrange(key, 0, -1)
            elif kind == "stream":
                info = await connection.xinfo_stream(key)
                groups = await connection.xinfo_groups(key)
                found[key] = (info["last-generated-id"], await connection.xrange(key), groups)
            else:
                found[key] = kind
    return found


def burn(stack: Stack) -> None:
    """Redis loses everything, and is another server afterwards."""
    for name in stack.names("bridge") + stack.names("worker") + stack.names("server"):
        stack.processes[name].stop()
    stack.valkey.stop()
    for part in sorted(stack.valkey.data.rglob("*"), reverse=True):
        part.rmdir() if part.is_dir() else part.unlink()
    stack.valkey.start()
    assert stack.valkey.command("DBSIZE") == 0


async def check_restore(broker: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **broker.settings("history,kafka"))
    ids = await send_many(stack, 1_000)
    email = await post(stack, room(2, "with mail", email="a@b.example"))
    ids.append(email.id)
    stack.push_expired("room", "1")
    await check_mirror(broker, ids)
    await check_all_acknowledged(stack)
    before = await content(stack)
    burn(stack)

    status, said = await restore(stack)
    assert status == 0, said
    after = await content(stack)
    logs = {key for key in before if key.startswith(Shards().only.log_prefix)}
    assert len(logs) == 7
    for key in logs:
        assert after[key] == before[key]
    for key in [key for key in before if key.startswith(Shards().only.channel_prefix)]:
        assert {**after[key], "r": ""} == {**before[key], "r": ""}
    was = [entry for entry in before[KEYS.events][1] if entry[1]["k"] != "mirrored"]
    fields = [(name, {**entry, "x": entry.get("x", "")}) for name, entry in was]
    again = [(name, {**entry, "x": entry.get("x", "")}) for name, entry in after[KEYS.events][1]]
    assert again == fields

    status, said = await restore(stack)
    assert status == 0, said
    assert "wrote 0 events and 0 of 7 channels" in said
    assert await content(stack) == after

    # Whoever was connected resumes without a hole, and the next publication begins a new epoch.
    position = after[f"{KEYS.channel_prefix}default/room:1"]
    old, last = Position(position["e"], 3), int(position["o"])
    for name in (*stack.names("worker"), *stack.names("server"), *stack.names("bridge")):
        await asyncio.to_thread(stack.start, name)
    await asyncio.to_thread(stack.start, stack.add("gateway"))
    async with Client(stack.ws_urls[0], user=9, room=1) as listener:
        new = await post(stack, room(1, "after the fire"))
        # It may be told about the new epoch, too.
        await until(lambda: any("id" in body for body in listener.notifications))
        (frame,) = [body for body in listener.notifications if "id" in body]
        assert frame["id"] == new.id
        assert frame["offset"] == last + 1
        assert frame["epoch"] != old.epoch
    raw = Redis(port=stack.valkey.port)
    now, exact, entries = await Queue(raw).replay("default/room:1", old, entries=1_000)
    beyond = await Queue(raw).replay("default/room:1", Position(old.epoch, last + 5))
    await raw.aclose()
    assert exact
    assert now == Position(frame["epoch"], last + 1)
    assert [entry.offset for entry in entries] == list(range(4, last + 2))
    assert entries[-1].base == Position(old.epoch, last)
    assert not beyond[1], "nobody is told that he has all when what he saw is not known"
    # Only what is new went to Kafka; a consumer sees everything once.
    records = await check_mirror(broker, [*ids, new.id])
    frames = [frame["id"] for frame in notifications(records)]
    assert frames.count(new.id) == 1
    status, said = await restore(stack)
    assert status == 0, said
    assert "wrote 0 events" in said


async def test_restore_into_an_empty_redis_and_again(tansu: Broker, make_stack: MakeStack) -> None:
    await check_restore(tansu, make_stack)


async def test_a_redis_with_something_in_it_is_refused(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    answer = await post(stack, room(1))
    await check_mirror(tansu, [answer.id])
    before = await content(stack)
    status, said = await restore(stack)
    assert status == 1
    assert "not empty" in said
    assert (await content(stack)).keys() == before.keys()


async def test_repeats_in_the_topic_are_dropped(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    ids = await send_many(stack, 200)
    first = await check_mirror(tansu, ids)
    stack.processes["bridge-1"].stop()
    stack.valkey.command("XGROUP", "DESTROY", KEYS.events, "kafka")
    await asyncio.to_thread(stack.restart, "bridge-1")
    records = await asyncio.to_thread(tansu.consume, EVENTS, 2 * len(first))
    assert len(notifications(records)) == 200
    burn(stack)
    status, said = await restore(stack)
    assert status == 0, said
    assert f"{len(first)} events, {len(first)} repeats" in said
    entries = stack.valkey.command("LRANGE", f"{KEYS.log_prefix}default/room:1", 0, -1)
    offsets = [parse_publication(entry.encode()).offset for entry in entries]
    assert offsets == list(range(1, len(offsets) + 1))


async def test_since_leaves_out_what_was_before(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    old = await send_many(stack, 21)
    await asyncio.sleep(1.5)
    new = await send_many(stack, 21)
    records = await check_mirror(tansu, old + new)
    since = min(frame["createdAt"] for frame in notifications(records) if frame["id"] in new)
    burn(stack)
    status, said = await restore(stack, since)
    assert status == 0, said
    assert "21 events" in said
    position = stack.valkey.command("HMGET", f"{KEYS.channel_prefix}default/room:1", "o")
    assert position == ["6"]


async def test_wrong_arguments_and_no_broker_are_told(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0, **tansu.settings())
    status, said = await restore(stack, "yesterday")
    assert status == 2
    assert "--since" in said
    status, said = await restore(stack)
    assert status == 1
    assert "roomcast.events" in said
