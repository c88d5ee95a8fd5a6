"""A producer that can't go on is closed and made again, whatever was under way."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from common.config.settings import Settings
from kafka_bridge.brokers import make_topics
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror.producer import NotWrittenError, Outbox
from tests.support.stores.kafka import Broker, Record, first_occurrences

TOPIC = "outbox"
TIMES, SIZE = 5, 200


@pytest.fixture
async def outbox(tansu: Broker) -> AsyncIterator[Outbox]:
    settings = Settings(kafka_brokers=tansu.brokers)
    await asyncio.to_thread(make_topics, settings, TOPIC)
    outbox = Outbox(settings)
    outbox.open()
    yield outbox
    await outbox.close()


def batch_of(first: int) -> list[Message]:
    """Messages of one key, numbered."""
    return [Message(b"k", b"%d" % n, []) for n in range(first, first + SIZE)]


async def test_reopened_with_batches_in_flight(tansu: Broker, outbox: Outbox) -> None:
    for turn in range(TIMES):
        batches = [batch_of((3 * turn + n) * SIZE) for n in range(3)]
        tansu.freeze()
        given_up = [await outbox.send(TOPIC, batch) for batch in batches]
        # In flight, and not only queued, so that the purge breaks the producer's promise.
        await asyncio.sleep(0.1)
        await outbox.reopen()
        for written in given_up:
            with pytest.raises(NotWrittenError):
                await asyncio.wait_for(written, 5)
        again = [await outbox.send(TOPIC, batch, placed=True) for batch in batches]
        tansu.thaw()
        async with asyncio.timeout(30):
            places = [place for written in again for place in await written]
        assert len(places) == 3 * SIZE

    def once(records: list[Record]) -> list[Record]:
        return first_occurrences(records, lambda record: record.value.decode())

    # Not only so many, as there may be repeats.
    records = await asyncio.to_thread(
        tansu.consume_until, TOPIC, lambda found: len(once(found)) == 3 * TIMES * SIZE
    )
    assert [int(record.value) for record in once(records)] == [*range(3 * TIMES * SIZE)]
