"""Batches in pieces: whatever the broker refuses alone, the rest is written, in order.

Tansu takes messages of any size; the producer itself refuses those of more than 4 MiB.
"""

import asyncio
import os
import random
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from itertools import chain

import pytest
from prometheus_client import REGISTRY

from common.config.settings import Settings
from kafka_bridge.brokers import MESSAGE_MAX_BYTES, make_topics
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror import careful_writer
from kafka_bridge.mirror.careful_writer import CarefulWriter
from kafka_bridge.mirror.producer import UNKNOWN, NotWrittenError, Outbox
from tests.support.stores.kafka import Broker, Tansu, first_occurrences

LIMIT = 20_000
TOPIC = "refused"
TOO_LARGE = MESSAGE_MAX_BYTES + 1_000


def named(name: str, size: int = 10, key: bytes = b"k") -> Message:
    """A message that begins with its name."""
    return Message(key, name.encode() + b" " + os.urandom(size), [])


def name_of(value: bytes | None) -> str:
    return (value or b"").partition(b" ")[0].decode()


def to_name(message: Message, _: str) -> Message:
    """The shorter message in the place of one: its name."""
    return message._replace(value=name_of(message.value).encode() + b" head")


def left_out(topic: str, outcome: str) -> float:
    labels = {"topic": topic, "outcome": outcome}
    return REGISTRY.get_sample_value("roomcast_kafka_left_out_total", labels) or 0


Make = Callable[..., CarefulWriter]


class CountingOutbox(Outbox):
    """An outbox that counts how often it had to begin anew."""

    reopened = 0

    async def reopen(self) -> None:
        self.reopened += 1
        await super().reopen()


@pytest.fixture(scope="module")
def shared_tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Tansu(tmp_path_factory.mktemp("careful")) as broker:
        yield broker


@pytest.fixture
def topic(shared_tansu: Broker) -> str:
    """A topic of the test's own, with one partition."""
    name = uuid.uuid4().hex
    shared_tansu.make_topic(name, 1)
    return name


@pytest.fixture
async def make(shared_tansu: Broker) -> AsyncIterator[Make]:
    """Make a writer."""
    settings = Settings(_env_file=None, kafka_brokers=shared_tansu.brokers)
    outbox = CountingOutbox(settings)
    outbox.open()

    def writer(shorten: careful_writer.Shorten = to_name) -> CarefulWriter:
        return CarefulWriter(settings, outbox, shorten)

    yield writer
    await outbox.close(timeout_s=0)


async def written(broker: Broker, topic: str, count: int) -> list[str]:
    """The values in the topic, each once; of large ones only the name."""
    records = await asyncio.to_thread(broker.consume, topic, count)
    once = first_occurrences(records, lambda record: name_of(record.value))
    return [
        f"{name_of(record.value)} head"
        if record.value.endswith(b" head")
        else name_of(record.value)
        for record in once
    ]


@pytest.mark.parametrize("large", [[0], [9], [1, 2, 3, 4, 5, 6]])
async def test_what_is_refused_alone_has_its_head_in_its_place(
    shared_tansu: Broker, topic: str, make: Make, large: Sequence[int]
) -> None:
    batch = [named(str(n), TOO_LARGE if n in large else 10) for n in range(10)]
    places = await make().write(topic, batch)
    assert [place == UNKNOWN for place in places] == [n in large for n in range(10)]
    expected = [f"{n} head" if n in large else str(n) for n in range(10)]
    assert await written(shared_tansu, topic, 10) == expected
    assert left_out(topic, "head") == len(large)


async def test_one_to_blame_among_many_is_found_at_once(
    shared_tansu: Broker, topic: str, make: Make
) -> None:
    writer = make()
    batch = [named(str(n), TOO_LARGE if n == 150 else 10) for n in range(200)]
    await writer.write(topic, batch)
    assert await written(shared_tansu, topic, 200) == [
        "150 head" if n == 150 else str(n) for n in range(200)
    ]
    assert isinstance(writer._outbox, CountingOutbox)
    assert writer._outbox.reopened == 1


async def test_the_places_are_where_the_messages_are(
    shared_tansu: Broker, topic: str, make: Make
) -> None:
    batch = [named(str(n), TOO_LARGE if n == 2 else 10) for n in range(6)]
    places = await make().write(topic, batch)
    records = await asyncio.to_thread(shared_tansu.consume, topic, 6)
    by_place = {(record.partition, record.offset): name_of(record.value) for record in records}
    for message, place in zip(batch, places, strict=True):
        assert place == UNKNOWN or by_place[place] == name_of(message.value)


async def test_what_not_even_a_head_is_taken_of_is_counted_as_lost(
    shared_tansu: Broker, topic: str, make: Make
) -> None:
    batch = [named("a"), named("b", TOO_LARGE), named("c")]
    places = await make(lambda message, _: message).write(topic, batch)
    assert [place == UNKNOWN for place in places] == [False, True, False]
    assert await written(shared_tansu, topic, 2) == ["a", "c"]
    assert left_out(topic, "lost") == 1


async def test_a_head_says_why(topic: str, make: Make) -> None:
    reasons: list[str] = []

    def shorten(message: Message, reason: str) -> Message:
        reasons.append(reason)
        return to_name(message, reason)

    await make(shorten).write(topic, [named("a", TOO_LARGE)])
    (reason,) = reasons
    assert "too large" in reason.lower()


async def test_messages_as_large_as_a_refused_one_are_suspect_until_many_are_taken(
    topic: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(careful_writer, "FORGIVEN", 3)
    writer = make()
    assert not writer.suspects([named("a", TOO_LARGE * 2)])
    await writer.write(topic, [named("a", TOO_LARGE)])
    assert writer.suspects([named("b"), named("c", TOO_LARGE)])
    assert not writer.suspects([named("b"), named("c", TOO_LARGE - 1_000)])
    assert not writer.suspects([])
    # As if a limit that was lower then had been raised.
    writer.suspect_bytes = 50
    await writer.write(topic, [named(f"d{n}", 100) for n in range(2)])
    assert writer.suspects([named("e", 100)])
    await writer.write(topic, [named("f", 100)])
    assert not writer.suspects([named("g", TOO_LARGE)])


async def test_nothing_is_written_of_nothing(topic: str, make: Make) -> None:
    assert await make().write(topic, []) == []


async def test_what_is_no_fault_of_a_message_replaces_none(make: Make) -> None:
    with pytest.raises(NotWrittenError):
        await make().write("no topic/", [named("a"), named("b")])
    assert (left_out("no topic/", "head"), left_out("no topic/", "lost")) == (0, 0)


@pytest.fixture
async def apache_outbox(apache: Broker) -> AsyncIterator[Outbox]:
    settings = Settings(kafka_brokers=apache.brokers)
    await asyncio.to_thread(apache.make_topic, TOPIC, 3, max_message_bytes=str(LIMIT))
    await asyncio.to_thread(make_topics, settings, TOPIC)
    outbox = Outbox(settings)
    outbox.open()
    yield outbox
    await outbox.close()


@pytest.mark.apache_kafka
async def test_any_mixture_is_written_in_order(apache: Broker, apache_outbox: Outbox) -> None:
    settings = Settings(kafka_brokers=apache.brokers)

    def shorten(message: Message, _: str) -> Message:
        value = message.value or b""
        name = value.partition(b" ")[0]
        # Not even the shorter one of some is taken.
        is_lost = name.endswith(b"!")
        return message._replace(value=name + (b" " + os.urandom(LIMIT * 2) if is_lost else b""))

    careful = CarefulWriter(settings, apache_outbox, shorten)
    chance = random.Random(7)
    sent, number = [], 0
    for _ in range(4):
        batch = []
        for _ in range(300):
            size = chance.choice([10] * 40 + [3_000, 8_000, LIMIT + 3_000, LIMIT * 4, 5_000_000])
            mark = b"! " if size > LIMIT and chance.random() < 0.2 else b" "
            batch.append(
                Message(b"k%d" % (number % 5), b"%d%b%b" % (number, mark, os.urandom(size)), [])
            )
            number += 1
        places = await careful.write(TOPIC, batch)
        taken = [message.size < LIMIT for message in batch]
        assert [place != UNKNOWN for place in places] == taken
        sent += batch
    names = [(message.value or b"").partition(b" ")[0] for message in sent]
    lost = {int(name[:-1]) for name in names if name.endswith(b"!")}
    records = first_occurrences(
        await asyncio.to_thread(apache.consume, TOPIC, number - len(lost)),
        lambda record: record.value.partition(b" ")[0].decode(),
    )
    found: dict[bytes, list[int]] = {}
    for record in records:
        found.setdefault(record.key or b"", []).append(int(record.value.partition(b" ")[0]))
    assert sorted(chain.from_iterable(found.values())) == sorted(set(range(number)) - lost)
    for numbers in found.values():
        assert numbers == sorted(numbers)
