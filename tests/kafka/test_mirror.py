"""`kafka_bridge/mirror/mirror.py`, as a process.

Every event is in Kafka, in order, once after deduplication.
"""

import asyncio
import json
import signal
from typing import Any

from tests.conftest import MakeStack
from tests.kafka.checks import (
    check_all_acknowledged,
    check_mirror,
    cloud_event,
    published,
    room,
    send_many,
)
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.process import LOOPBACK, Process
from tests.support.processes.stack import KEYS
from tests.support.stores.kafka import EVENTS, Broker
from tests.support.waiting import until


async def test_what_is_accepted_is_in_kafka_as_clients_got_it(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(bridges=1, **tansu.settings())
    async with Client(stack.ws_urls[0], user=5, room='ü/"1') as client:
        answer = await post(
            stack,
            {
                "type": "room",
                "userId": 1,
                "target": 'ü/"1',
                "message": "hé",
                "data": {"big": 12345678901234567890, "offset": 3, "createdAt": "x"},
                "email": "a@b.example",
            },
        )
        await until(lambda: client.ids == [answer.id])
    (record,) = published(await check_mirror(tansu, [answer.id]))
    event = cloud_event(record)
    frame = client.notifications[0]
    assert event["data"] == frame
    assert event["specversion"] == "1.0"
    assert event["type"] == "roomcast.notification.published"
    assert event["subject"] == 'room:ü/"1'
    assert event["id"] == f'default/room:ü/"1/{frame["epoch"]}/1'
    assert event["acceptedtime"] == frame["createdAt"]
    assert json.loads(event["extra"]) == {"email": "a@b.example"}
    assert event["writer"]
    assert record.key == 'default/room:ü/"1'.encode()
    assert record.headers == {
        "content-type": b"application/cloudevents+json",
        "id": answer.id.encode(),
        "offset": b"1",
    }


async def test_other_events_are_mirrored_too(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    stack.push_expired("room", "1")
    text = b"\xff no job \x00"
    stack.valkey.command("LPUSH", KEYS.door("high"), text)
    receipt = '{"id":"n","userId":"7","at":"2026-11-21T04:00:00.123Z"}'
    for kind in ("delivered", "read"):
        stack.valkey.command(
            "XADD", KEYS.events, "*", "k", kind, "c", "default/user:7", "p", receipt
        )
    story = '{"gateway":"g","epoch":"e","runs":[[1,2,3]],"at":"2026-11-21T04:00:00.123Z"}'
    stack.valkey.command(
        "XADD", KEYS.events, "*", "k", "written", "c", "default/room:1", "p", story
    )
    stack.valkey.command(
        "XADD", KEYS.events, "*", "k", "mirrored", "c", "default/room:1", "p", "{}"
    )
    stack.valkey.command("XADD", KEYS.events, "*", "unknown", "to", "be", "skipped")
    records = await asyncio.to_thread(tansu.consume, EVENTS, 5)
    events = {event["type"]: event for event in map(cloud_event, records)}
    assert set(events) == {
        "roomcast.notification.expired",
        "roomcast.notification.dead",
        "roomcast.receipt.delivered",
        "roomcast.receipt.read",
        "roomcast.gateway.written",
    }
    assert len(records) == 5
    assert events["roomcast.receipt.read"]["data"] == json.loads(receipt)
    assert events["roomcast.receipt.read"]["id"].startswith("default/")
    assert events["roomcast.notification.dead"]["data_base64"] == "/yBubyBqb2IgAA=="
    assert events["roomcast.notification.dead"]["reason"]


async def test_history_is_told_where_in_kafka_it_is(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings("history,kafka"))
    answer = await post(stack, room(3))
    (record,) = published(await check_mirror(tansu, [answer.id]))
    event = cloud_event(record)["data"]

    async def mirrored() -> list[dict[str, str]]:
        async with stack.valkey.client() as client:
            connection: Any = client
            entries = await connection.xrange(KEYS.events)
            return [fields for _, fields in entries if fields["k"] == "mirrored"]

    await until(mirrored)
    (fields,) = await mirrored()
    story = json.loads(fields["p"])
    assert story["topic"] == EVENTS
    at_ms = int(cloud_event(record)["streamid"].partition("-")[0])
    assert story["firstMs"] == story["lastMs"] == at_ms
    assert story["entries"] == [
        ["default/room:3", event["epoch"], 1, record.partition, record.offset]
    ]
    # And it does not go to Kafka itself.
    await check_all_acknowledged(stack)
    assert len(await asyncio.to_thread(tansu.consume, EVENTS, 1)) == 1


async def test_a_bridge_killed_mid_batch_loses_nothing(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(bridges=1, gateways=0, KAFKA_BATCH_MAX="300", **tansu.settings())
    sending = asyncio.create_task(send_many(stack, 12_000))
    for kill in range(4):
        done = stack.metric("bridge-1", "roomcast_kafka_mirrored_total")
        await until(
            lambda done=done: (  # type: ignore[misc]  # bound at once
                stack.metric("bridge-1", "roomcast_kafka_mirrored_total") > done or sending.done()
            ),
            f"it goes on before kill {kill}",
        )
        stack.kill("bridge-1")
        await asyncio.to_thread(stack.processes["bridge-1"].start)
        await asyncio.sleep(0.3)
    ids = await sending
    assert len(ids) == 12_000
    await check_mirror(tansu, ids)
    await check_all_acknowledged(stack)


async def test_kafka_away_and_back(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, **tansu.settings())
    ids = await send_many(stack, 500)
    await check_mirror(tansu, ids)
    tansu.freeze()
    try:
        async with Client(stack.ws_urls[0], user=5, room=1) as client:
            more = await send_many(stack, 8_000, rooms=7)
            # Delivery to sockets does not notice.
            await until(lambda: len(client.ids) == len(more[1::7]))
        await asyncio.sleep(7)
        assert stack.is_ready("worker-1")
        assert not stack.is_ready("bridge-1")
    finally:
        tansu.thaw()
    await check_mirror(tansu, ids + more)
    await check_all_acknowledged(stack)
    await until(lambda: stack.is_ready("bridge-1"))


async def test_it_starts_before_kafka_does(tansu: Broker, make_stack: MakeStack) -> None:
    tansu.process.stop()
    stack = make_stack(gateways=0, **tansu.settings())
    name = stack.add("bridge")
    stack.processes[name].start()
    ids = await send_many(stack, 100)
    await until(lambda: stack.get(name, "/readyz")[0] == 503)
    await asyncio.to_thread(tansu.start)
    await check_mirror(tansu, ids)
    await until(lambda: stack.is_ready(name))


async def test_the_leader_of_two_replicas_is_killed(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=2, gateways=0, KAFKA_BATCH_MAX="300", **tansu.settings())

    def leader() -> str:
        leads = [n for n in stack.names("bridge") if stack.metric(n, "roomcast_kafka_leads") == 1]
        return leads[0] if len(leads) == 1 else ""

    await until(leader, "one leads")
    sending = asyncio.create_task(send_many(stack, 8_000))
    first = leader()
    await until(lambda: stack.metric(first, "roomcast_kafka_mirrored_total") > 300)
    stack.kill(first)
    ids = await sending
    await check_mirror(tansu, ids)
    await check_all_acknowledged(stack)
    (other,) = set(stack.names("bridge")) - {first}
    assert stack.metric(other, "roomcast_kafka_mirrored_total") > 0


async def test_redis_away_and_back(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    ids = await send_many(stack, 1_000)
    stack.valkey.stop()
    await until(lambda: not stack.is_ready("bridge-1"))
    await asyncio.to_thread(stack.valkey.start)
    await until(lambda: stack.is_ready("server-1"))
    ids += await send_many(stack, 1_000)
    await check_mirror(tansu, ids)
    await check_all_acknowledged(stack)


async def test_sigterm_settles_what_is_under_way(tansu: Broker, make_stack: MakeStack) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    ids = await send_many(stack, 3_000)
    stack.kill("bridge-1", signal.SIGTERM)
    assert await asyncio.to_thread(stack.processes["bridge-1"].wait) == 0
    await asyncio.to_thread(stack.restart, "bridge-1")
    records = await check_mirror(tansu, ids)
    assert len(records) == len(ids), "all that Kafka had was acknowledged, and not sent twice"


def test_without_brokers_it_refuses_to_start(make_stack: MakeStack) -> None:
    stack = make_stack(servers=0, workers=0, gateways=0)
    process: Process = stack.processes[stack.add("bridge")]
    process.start()
    assert process.wait() == 2
    assert "KAFKA_BROKERS" in process.log_tail()
    assert LOOPBACK not in process.log_tail()
