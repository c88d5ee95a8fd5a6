"""`kafka_bridge/ingest/consumer.py`, as a process.

Each request is queued once, rubbish is told apart, and nothing is lost without room.
"""

import asyncio
import json

from tests.conftest import MakeStack
from tests.kafka.checks import room
from tests.support.clients.event_stream import events
from tests.support.processes.stack import KEYS, Stack
from tests.support.stores.kafka import DEAD, REQUESTS, Broker
from tests.support.waiting import until

JOIN_S = 45.0


def message(body: object, **headers: str) -> tuple[bytes | None, dict[str, bytes]]:
    return json.dumps(body).encode(), {name: text.encode() for name, text in headers.items()}


async def published(stack: Stack) -> list[str]:
    # The reader `history` is enabled and not there, so nothing is trimmed.
    return [e.body["message"] for e in await events(stack) if e.kind == "published"]


async def until_published(stack: Stack, wanted: list[str]) -> None:
    async def there() -> bool:
        return len(await published(stack)) >= len(wanted)

    await until(there, f"{len(wanted)} publications", JOIN_S)
    assert await published(stack) == wanted


async def until_joined(stack: Stack) -> None:
    """Wait for the bridge's partitions."""
    process = stack.processes["bridge-1"]
    await until(lambda: '"assigned"' in process.log_tail(100_000), "it joins", JOIN_S)


async def test_requests_are_queued_once(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    await until_joined(stack)
    tansu.produce(
        REQUESTS,
        message(room(1, "a"), id="one"),
        message(room(1, "a"), id="one"),
        message(room(1, "b")),
        message([room(1, "c"), room(1, "d")], id="two"),
        message(room(1, "another text"), id="one"),
        (b"no json", {}),
        (json.dumps(room(1, "x", type="nobody")).encode(), {"id": b"three"}),
        (None, {}),
        (json.dumps(room(1)).encode(), {"id": b""}),
        message(room(1, "b")),
    )
    await until_published(stack, ["a", "b", "c", "d", "b"])
    dead = await asyncio.to_thread(tansu.consume, DEAD, 5)
    reasons = sorted(record.headers["reason"].decode() for record in dead)
    assert [reason.split(" ")[0] for reason in reasons] == [
        "another", "invalid:", "malformed-json:", "the", "the",
    ]  # fmt: skip
    assert {record.headers["source"].partition(b":")[0] for record in dead} == {REQUESTS.encode()}
    assert b"no json" in {record.value for record in dead}
    assert {record.key for record in dead} == {b"k"}


async def test_a_crash_between_redis_and_commit_queues_nothing_twice(
    tansu: Broker, make_stack: MakeStack
) -> None:
    """The bridge is killed over and over while it takes requests; the offsets lag behind."""
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    await until_joined(stack)
    wanted = [f"m{n}" for n in range(3_000)]
    producing = asyncio.create_task(
        asyncio.to_thread(tansu.produce, REQUESTS, *(message(room(1, text)) for text in wanted))
    )
    for kill in range(2):
        await until(
            lambda least=200 * (kill + 1): (  # type: ignore[misc]  # bound at once
                int(stack.valkey.command("XLEN", KEYS.events)) >= least
            ),
            "some are queued",
            JOIN_S,
        )
        stack.kill("bridge-1")
        await asyncio.to_thread(stack.processes["bridge-1"].start)
    await producing
    await until_published(stack, wanted)


async def test_the_same_offsets_again_queue_nothing_twice(
    tansu: Broker, make_stack: MakeStack
) -> None:
    """What was accepted but not committed: the offsets are set back to where they were."""
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    await until_joined(stack)
    wanted = [f"m{n}" for n in range(50)]
    await asyncio.to_thread(tansu.produce, REQUESTS, *(message(room(1, text)) for text in wanted))
    await until_published(stack, wanted)
    stack.processes["bridge-1"].stop()
    await asyncio.to_thread(tansu.forget_offsets, "roomcast-bridge", REQUESTS)
    await asyncio.to_thread(stack.start, "bridge-1")
    await until(
        lambda: stack.metric("bridge-1", "roomcast_kafka_ingested_total", outcome="repeated") == 50,
        "all of them are found accepted",
        JOIN_S,
    )
    assert await published(stack) == wanted


async def test_a_full_lane_leaves_requests_in_kafka(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(
        bridges=1, gateways=0, workers=0, LANE_MAX_JOBS="10", **tansu.settings("history,kafka")
    )
    await until_joined(stack)
    wanted = [f"m{n}" for n in range(40)]
    await asyncio.to_thread(tansu.produce, REQUESTS, *(message(room(1, text)) for text in wanted))
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 1, "", JOIN_S)
    await asyncio.sleep(12)  # longer than max.poll.interval.ms: it stays in the group
    assert int(stack.valkey.command("HGET", KEYS.waiting, "high")) == 10
    assert "is full" in stack.get("bridge-1", "/readyz")[1]
    await asyncio.to_thread(stack.start, stack.add("worker"))
    await until_published(stack, wanted)
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 0)


async def test_a_full_event_stream_leaves_requests_in_kafka(
    tansu: Broker, make_stack: MakeStack
) -> None:
    """Nothing is queued, dropped or called rubbish; it goes on, in order, once there is room."""
    stack = make_stack(
        bridges=1, gateways=0, EVENTS_BOUND="1000", **tansu.settings("history,kafka")
    )
    await until_joined(stack)
    for n in range(1_000):
        fields = ("k", "expired", "c", "default/room:1", "w", "w", "p", f'{{"id":"{n}"}}')
        stack.valkey.command("XADD", KEYS.events, "*", *fields)
    wanted = [f"m{n}" for n in range(40)]
    await asyncio.to_thread(tansu.produce, REQUESTS, *(message(room(1, text)) for text in wanted))
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 1, "", JOIN_S)
    await asyncio.sleep(1)
    assert "the event stream is full" in stack.get("bridge-1", "/readyz")[1]
    assert await published(stack) == []
    for outcome in ("queued", "dead"):
        assert not stack.metric("bridge-1", "roomcast_kafka_ingested_total", outcome=outcome)
    stack.valkey.command("XTRIM", KEYS.events, "MAXLEN", "=", "10")
    await until_published(stack, wanted)
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 0)
    assert not stack.metric("bridge-1", "roomcast_kafka_ingested_total", outcome="dead")


async def test_redis_away_leaves_requests_in_kafka(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    await until_joined(stack)
    stack.valkey.stop()
    wanted = [f"m{n}" for n in range(40)]
    await asyncio.to_thread(tansu.produce, REQUESTS, *(message(room(1, text)) for text in wanted))
    await asyncio.sleep(2)
    await asyncio.to_thread(stack.valkey.start)
    await until_published(stack, wanted)


async def test_nothing_odd_holds_what_is_behind_it(tansu: Broker, make_stack: MakeStack) -> None:
    """Each of these was rubbish, or ended the bridge again and again, or waited for ever."""
    stack = make_stack(bridges=1, gateways=0, LANE_MAX_JOBS="50", **tansu.settings("history,kafka"))
    await until_joined(stack)
    process = stack.processes["bridge-1"].pid
    await asyncio.to_thread(tansu.produce_odd_header, REQUESTS, b"\xff\xfe")
    more_than_a_lane_holds = [room(1, f"never {n}") for n in range(51)]
    await asyncio.to_thread(
        tansu.produce,
        REQUESTS,
        (None, {}),
        (None, {"id": b"tombstone"}),
        (b"", {}),
        (b"\x00\x00\x00\x00\x01avro", {"content-type": b"\xff"}),
        (b"\xff\xfe", {}),
        (b"[" * 100_000, {}),
        (b'{"type":"\\ud800","userId":1,"message":"x"}', {}),
        (json.dumps(room(1, "x" * 3_000_000)).encode(), {}),
        (json.dumps(room(1)).encode(), {"id": b"\xff"}),
        message(room(1, "good"), **{f"header-{n}": "v" for n in range(500)}),
        message(more_than_a_lane_holds),
        message(room(1, "last")),
    )
    await until_published(stack, ["good", "last"])
    dead = await asyncio.to_thread(tansu.consume, DEAD, 11)
    reasons = {record.headers["reason"].decode() for record in dead}
    for reason in (
        "the name of a header is not UTF-8",
        "the message is empty",
        "a message may have 1048576 bytes",
        "it has more notifications than may ever wait in a lane (50)",
    ):
        assert reason in reasons
    assert stack.processes["bridge-1"].pid == process
    assert stack.is_ready("bridge-1")


async def test_more_than_redis_will_ever_have_room_for(
    tansu: Broker, make_stack: MakeStack
) -> None:
    """It goes to the dead letters, and does not wait for ever with all that is behind it."""
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    await until_joined(stack)
    stack.valkey.command("CONFIG", "SET", "maxmemory", str(64 * 1024 * 1024))
    targets = [f"{n:04}" for n in range(1_000)]
    many = [{**room(1, "m" * 400), "target": targets} for _ in range(60)]
    await asyncio.to_thread(
        tansu.produce, REQUESTS, message(room(1, "a")), message(many), message(room(1, "b"))
    )
    await until_published(stack, ["a", "b"])
    (letter,) = await asyncio.to_thread(tansu.consume, DEAD, 1)
    assert "bytes of redis; one request may take" in letter.headers["reason"].decode()
    assert stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 0
