"""What a broker refuses for ever holds nothing that is behind it, and is not lost silently.

On Apache Kafka: Tansu takes messages of any size, whatever its topics' limits say.
"""

import asyncio
import base64
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MakeStack
from tests.kafka.checks import (
    check_all_acknowledged,
    check_mirror,
    cloud_event,
    event_id,
    notifications,
    room,
    send_many,
)
from tests.kafka.restore.test_command import burn, restore
from tests.kafka.test_consumer import JOIN_S, message, until_joined, until_published
from tests.support.clients.event_stream import events
from tests.support.clients.sender import post
from tests.support.processes.process import Process
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import (
    DEAD,
    EVENTS,
    REQUESTS,
    ApacheKafka,
    Broker,
    Record,
    first_occurrences,
    needs_apache_kafka,
)
from tests.support.waiting import until

LIMIT = 20_000
LEFT_OUT = "roomcast.event.left-out"
TOPIC = "refused"


def noise(size: int) -> str:
    """Text that no compression makes much shorter."""
    return base64.b64encode(os.urandom(size * 3 // 4)).decode()


def heads(records: list[Record]) -> list[dict[str, Any]]:
    found = map(cloud_event, first_occurrences(records, event_id))
    return [event for event in found if event["type"] == LEFT_OUT]


def errors(process: Process) -> list[dict[str, Any]]:
    return [line for line in process.log_lines() if line["level"] == "ERROR"]


def offsets(records: list[Record]) -> dict[str, list[int]]:
    """Of each channel, the offsets in the order of their first occurrences, heads included."""
    found: dict[str, list[int]] = {}
    for record in first_occurrences(records, event_id):
        event = cloud_event(record)
        data = event["data"]["event"] if event["type"] == LEFT_OUT else event["data"]
        found.setdefault(data["channel"], []).append(data["offset"])
    return found


@pytest.mark.apache_kafka
async def test_one_event_too_large_for_its_topic(apache: Broker, make_stack: MakeStack) -> None:
    """Its head takes its place; what is before and behind it goes as ever, and in order."""
    await asyncio.to_thread(apache.make_topic, EVENTS, max_message_bytes=str(LIMIT))
    stack = make_stack(bridges=1, gateways=0, **apache.settings("history,kafka"))
    before = await send_many(stack, 200)
    large = await post(stack, room(1, "head", data={"text": noise(60_000)}))
    behind = await send_many(stack, 200)
    await check_all_acknowledged(stack)
    records = await asyncio.to_thread(
        apache.consume_until, EVENTS, lambda found: len(notifications(found)) >= 400
    )
    assert {frame["id"] for frame in notifications(records)} == {*before, *behind}
    (head,) = heads(records)
    assert head["data"]["event"]["id"] == large.id
    assert head["data"]["event"]["message"] == "head"
    assert head["data"]["type"] == "roomcast.notification.published"
    assert head["data"]["leftOut"] == ["data"]
    assert head["data"]["bytes"] > 60_000
    assert "too large" in head["data"]["reason"]
    assert head["subject"] == "room:1"
    for channel, found in offsets(records).items():
        assert found == [*range(1, len(found) + 1)], channel
    bridge = stack.processes["bridge-1"]
    assert stack.metric(
        "bridge-1", "roomcast_kafka_left_out_total", topic=EVENTS, outcome="head"
    ) == 1  # fmt: skip
    (error,) = errors(bridge)
    assert error["key"] == "default/room:1"
    assert stack.is_ready("bridge-1")
    # History is told of no place for it.
    told = [
        entry for e in await events(stack) if e.kind == "mirrored" for entry in e.body["entries"]
    ]
    places = {(entry[0], entry[2]) for entry in told}
    assert ("default/room:1", head["data"]["event"]["offset"]) not in places
    assert len(places) == 400


@pytest.mark.apache_kafka
async def test_many_large_ones_amid_a_flood_and_kills(
    apache: Broker, make_stack: MakeStack
) -> None:
    """Nothing is lost, repeated ids aside, and channels keep their order, with SIGKILL amid it."""
    await asyncio.to_thread(apache.make_topic, EVENTS, max_message_bytes=str(LIMIT))
    stack = make_stack(bridges=1, gateways=0, **apache.settings())
    # What waits is mirrored in batches, and the large ones are spread over them.
    stack.processes["bridge-1"].stop()
    small: list[str] = []
    large: list[str] = []
    for _ in range(12):
        small += await send_many(stack, 100)
        large.append((await post(stack, room(random.randrange(7), noise(30_000)))).id)
    stack.processes["bridge-1"].start()
    for _ in range(3):
        done = _left_out(stack)
        await until(lambda done=done: _left_out(stack) > done or _settled(stack))  # type: ignore[misc]  # bound at once
        stack.kill("bridge-1")
        stack.processes["bridge-1"].start()
    await check_all_acknowledged(stack)
    records = await asyncio.to_thread(
        apache.consume_until, EVENTS, lambda found: len(heads(found)) >= 12
    )
    assert {frame["id"] for frame in notifications(records)} == set(small)
    assert {head["data"]["event"]["id"] for head in heads(records)} == set(large)
    for channel, found in offsets(records).items():
        assert found == [*range(1, len(found) + 1)], channel
    await until(lambda: stack.is_ready("bridge-1"))


def _left_out(stack: Stack) -> float:
    try:
        return stack.metric(
            "bridge-1", "roomcast_kafka_left_out_total", topic=EVENTS, outcome="head"
        ) or 0  # fmt: skip
    except (OSError, AssertionError):
        return 0


def _settled(stack: Stack) -> bool:
    try:
        return bool((stack.metric("bridge-1", "roomcast_kafka_mirrored_total") or 0) >= 1_212)
    except (OSError, AssertionError):
        return False


@pytest.mark.apache_kafka
async def test_a_limit_below_what_is_sent_together(apache: Broker, make_stack: MakeStack) -> None:
    """Kafka's limit is one of a batch: small events that together exceed it are all mirrored."""
    await asyncio.to_thread(apache.make_topic, EVENTS, 1, max_message_bytes=str(LIMIT))
    stack = make_stack(bridges=0, gateways=0, **apache.settings())
    ids = [(await post(stack, room(1, noise(4_000)))).id for _ in range(60)]
    await asyncio.to_thread(stack.start, stack.add("bridge"))
    await check_all_acknowledged(stack)
    records = await asyncio.to_thread(
        apache.consume_until, EVENTS, lambda found: len(notifications(found)) >= 60
    )
    assert [frame["id"] for frame in notifications(records)] == ids
    assert heads(records) == []


@pytest.mark.apache_kafka
async def test_dead_letters_larger_than_their_topic(apache: Broker, make_stack: MakeStack) -> None:
    await asyncio.to_thread(apache.make_topic, DEAD, max_message_bytes=str(LIMIT))
    stack = make_stack(bridges=1, gateways=0, **apache.settings("history,kafka"))
    await until_joined(stack)
    large = b"no json " + noise(60_000).encode()
    await asyncio.to_thread(
        apache.produce,
        REQUESTS,
        message(room(1, "a")),
        (b"small", {}),
        (large, {"trace": b"t"}),
        (b"small too", {"large": noise(60_000).encode(), "mine": b"m"}),
        message(room(1, "b")),
    )
    await until_published(stack, ["a", "b"])
    await until(
        lambda: stack.metric("bridge-1", "roomcast_kafka_ingested_total", outcome="dead") == 3,
        "",
        JOIN_S,
    )
    letters = await asyncio.to_thread(apache.consume, DEAD, 3)
    found = first_occurrences(letters, lambda record: record.headers["source"].decode())
    by_value = sorted(found, key=lambda record: (record.value, sorted(record.headers)))
    assert [record.value for record in by_value] == [b"", b"", b"small"]
    cut = [record for record in found if "left-out" in record.headers]
    theirs = [set(record.headers) - {"left-out", "reason", "source"} for record in cut]
    assert sorted(map(sorted, theirs)) == [["mine"], ["trace"]]
    assert any(record.headers["left-out"].startswith(b"%d bytes" % len(large)) for record in cut)
    await asyncio.to_thread(apache.produce, REQUESTS, message(room(1, "c")))
    await until_published(stack, ["a", "b", "c"])


@pytest.mark.apache_kafka
async def test_a_time_that_the_topic_refuses(apache: Broker, make_stack: MakeStack) -> None:
    """Events that waited longer than the topic allows, or whose clock is wrong, lose their time."""
    await asyncio.to_thread(apache.make_topic, EVENTS, message_timestamp_before_max_ms="1000")
    stack = make_stack(bridges=0, gateways=0, **apache.settings())
    ids = await send_many(stack, 50)
    await asyncio.sleep(2)
    await asyncio.to_thread(stack.start, stack.add("bridge"))
    ids += await send_many(stack, 50)
    await check_all_acknowledged(stack)
    records = await asyncio.to_thread(
        apache.consume_until, EVENTS, lambda found: len(notifications(found)) >= 100
    )
    assert {frame["id"] for frame in notifications(records)} == set(ids)
    assert heads(records) == []


@pytest.mark.apache_kafka
async def test_dead_letters_for_a_compacted_topic(apache: Broker, make_stack: MakeStack) -> None:
    """It takes none without a key: the head gets one."""
    await asyncio.to_thread(apache.make_topic, DEAD, cleanup_policy="compact")
    stack = make_stack(bridges=1, gateways=0, **apache.settings("history,kafka"))
    await until_joined(stack)
    await asyncio.to_thread(
        apache.produce, REQUESTS, (None, {}), (b"rubbish", {}), message(room(1, "a")), key=None
    )
    await until_published(stack, ["a"])
    letters = await asyncio.to_thread(apache.consume, DEAD, 2)
    assert {record.key for record in letters} == {record.headers["source"] for record in letters}
    assert stack.metric(
        "bridge-1", "roomcast_kafka_left_out_total", topic=DEAD, outcome="head"
    ) == 2  # fmt: skip


@pytest.mark.apache_kafka
async def test_what_is_wrong_with_the_topic_loses_nothing(
    tmp_path: Path, make_stack: MakeStack
) -> None:
    """Without permission nothing is replaced or dropped: all is there once it is given."""
    needs_apache_kafka()
    with ApacheKafka(tmp_path, guarded=True) as broker:
        stack = make_stack(bridges=1, gateways=0, **broker.settings())
        ids = await send_many(stack, 50)
        await check_all_acknowledged(stack)
        await asyncio.to_thread(broker.deny, "WRITE", EVENTS)
        ids += await send_many(stack, 200)
        await until(lambda: "authorization" in stack.get("bridge-1", "/readyz")[1])
        await asyncio.sleep(3)
        await asyncio.to_thread(broker.allow, EVENTS)
        records = await check_mirror(broker, ids)
        assert heads(records) == []
        await check_all_acknowledged(stack)
        await until(lambda: stack.is_ready("bridge-1"))
        assert not errors(stack.processes["bridge-1"])


@pytest.mark.apache_kafka
async def test_requests_that_may_not_be_read_are_trouble(
    tmp_path: Path, make_stack: MakeStack
) -> None:
    needs_apache_kafka()
    with ApacheKafka(tmp_path, guarded=True) as broker:
        stack = make_stack(bridges=1, gateways=0, **broker.settings("history,kafka"))
        await until_joined(stack)
        await until(lambda: stack.is_ready("bridge-1"))
        await asyncio.to_thread(broker.deny, "READ", REQUESTS)
        await asyncio.to_thread(broker.produce, REQUESTS, message(room(1, "a")))
        await until(lambda: "authorization" in stack.get("bridge-1", "/readyz")[1])
        await asyncio.to_thread(broker.allow, REQUESTS)
        await until_published(stack, ["a"])
        await until(lambda: stack.is_ready("bridge-1"))


async def test_larger_than_the_producer_sends_at_all(tansu: Broker, make_stack: MakeStack) -> None:
    """4 MiB: librdkafka refuses it by itself. Somebody else wrote it into the stream."""
    stack = make_stack(gateways=0, KAFKA_BATCH_MAX="20", **tansu.settings("history,kafka"))
    before = await send_many(stack, 50)
    text = json.dumps({"id": "n", "userId": "7", "rubbish": "x" * 5_000_000})
    stack.valkey.command("XADD", KEYS.events, "*", "k", "read", "c", "default/user:7", "p", text)
    behind = await send_many(stack, 50)
    # Batches are ready behind the one that it is in, at once.
    await asyncio.to_thread(stack.start, stack.add("bridge"))
    await check_all_acknowledged(stack)
    records = await asyncio.to_thread(
        tansu.consume_until, EVENTS, lambda found: len(notifications(found)) >= 100
    )
    assert {frame["id"] for frame in notifications(records)} == {*before, *behind}
    (head,) = heads(records)
    assert head["data"]["event"] == {"id": "n", "userId": "7"}
    assert head["data"]["leftOut"] == ["rubbish"]
    others = [record for record in records if cloud_event(record)["type"] != LEFT_OUT]
    for channel, found in offsets(others).items():
        assert found == [*range(1, len(found) + 1)], channel
    burn(stack)
    status, said = await restore(stack)
    assert status == 0, said
    assert "100 events, " in said
    assert "1 events are missing, of which the topic took only the head" in said
