"""A broker that keeps nothing on disk is killed and started again under a running bridge."""

import asyncio

from tests.conftest import MakeStack
from tests.kafka.checks import (
    check_all_acknowledged,
    check_mirror,
    notifications,
    room,
    send_many,
)
from tests.kafka.test_consumer import JOIN_S, message, until_joined, until_published
from tests.support.clients.sender import post
from tests.support.stores.kafka import DEAD, EVENTS, REQUESTS, Broker
from tests.support.waiting import until


async def test_a_broker_that_forgot_everything_is_mirrored_to_again(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(bridges=1, gateways=0, **tansu.settings())
    await check_mirror(tansu, await send_many(stack, 100))
    await check_all_acknowledged(stack)
    await asyncio.to_thread(tansu.kill)
    await asyncio.to_thread(tansu.process.wait)
    await asyncio.to_thread(tansu.start)
    answer = await post(stack, room(1, "next"))
    records = await asyncio.to_thread(
        tansu.consume_until,
        EVENTS,
        lambda found: answer.id in {frame["id"] for frame in notifications(found)},
        60.0,
    )
    assert [frame["message"] for frame in notifications(records)][-1:] == ["next"]
    await check_all_acknowledged(stack)
    await until(lambda: stack.is_ready("bridge-1"))
    # And on from there, without another pause.
    more = await send_many(stack, 100)
    await asyncio.to_thread(
        tansu.consume_until,
        EVENTS,
        lambda found: set(more) <= {frame["id"] for frame in notifications(found)},
        60.0,
    )
    assert "CONFWARN" not in stack.processes["bridge-1"].log_tail(100_000)


async def test_a_broker_that_forgot_everything_gets_dead_letters_again(
    tansu: Broker, make_stack: MakeStack
) -> None:
    stack = make_stack(
        bridges=1, gateways=0, workers=0, LANE_MAX_JOBS="1", **tansu.settings("history,kafka")
    )
    await until_joined(stack)
    # The dead letters' producer has been used.
    await asyncio.to_thread(tansu.produce, REQUESTS, (b"rubbish", {}))
    await asyncio.to_thread(tansu.consume, DEAD, 1, JOIN_S)
    await asyncio.to_thread(
        tansu.produce, REQUESTS, message(room(1, "a")), message(room(1, "b")), (b"more", {})
    )
    await until(lambda: stack.metric("bridge-1", "roomcast_kafka_ingest_paused") == 1, "", JOIN_S)
    await asyncio.to_thread(tansu.kill)
    await asyncio.to_thread(tansu.process.wait)
    await asyncio.to_thread(tansu.start)
    # What it has taken before is to be buried now, where no topic is any more.
    await asyncio.to_thread(stack.start, stack.add("worker"))
    (letter,) = await asyncio.to_thread(tansu.consume, DEAD, 1, 2 * JOIN_S)
    assert letter.value == b"more"
    await asyncio.to_thread(tansu.produce, REQUESTS, message(room(1, "c"), id="c"))
    await until_published(stack, ["a", "b", "c"])
