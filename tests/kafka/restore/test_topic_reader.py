"""The events topic, read back from a real broker in the order of the stream."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from common.config.settings import Settings
from common.events.event import Event
from kafka_bridge.brokers import make_topics
from kafka_bridge.messages.cloud_events import head_of, to_message
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror.producer import Outbox
from kafka_bridge.restore.channel_rebuild import Rebuild, new_ones
from kafka_bridge.restore.topic_reader import Archive, ArchiveError
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.kafka import Broker, Tansu
from tests.unit.kafka_bridge.frames import publication

FIRST_MS = 1_795_250_081_000


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Tansu(tmp_path_factory.mktemp("restore")) as started:
        yield started


_numbers = iter(range(100))


@pytest.fixture
def settings(broker: Broker) -> Settings:
    """Settings of a bridge with a topic that no other test has."""
    topic = f"events-{next(_numbers)}"
    made = Settings(_env_file=None, kafka_brokers=broker.brokers, kafka_events_topic=topic)
    make_topics(made, topic)
    return made


def event(number: int, room: str) -> Event:
    """The publication of a room that is number `number` on the stream."""
    entry = f"{FIRST_MS + number}-0"
    return publication(room, f"n{number}", "hi", number, entry=entry)


def mirrored(one: Event) -> Message:
    made = to_message(one)
    assert made is not None
    return made


async def write(settings: Settings, *messages: Message) -> None:
    outbox = Outbox(settings)
    outbox.open()
    try:
        await (await outbox.send(settings.kafka_events_topic, list(messages)))
    finally:
        await outbox.close()


async def read(settings: Settings, since_ms: int = 0) -> tuple[list[Event], Archive]:
    archive = Archive(settings, since_ms)
    events = archive.events(partial(new_ones, Rebuild(100)))
    return await asyncio.to_thread(list, events), archive


async def test_events_of_all_partitions_come_in_the_order_of_the_stream(settings: Settings) -> None:
    sent = [event(number, f"r{number % 7}") for number in range(1, 200)]
    await write(settings, *map(mirrored, sent))
    found, archive = await read(settings)
    assert found == sent
    assert archive.read == 199


async def test_repeats_are_left_out(settings: Settings) -> None:
    sent = [event(number, "r") for number in range(1, 21)]
    await write(settings, *map(mirrored, sent[:15]))
    # A bridge died and wrote its last batches again.
    await write(settings, *map(mirrored, sent[5:]))
    found, archive = await read(settings)
    assert found == sent
    assert archive.read == 30


async def test_what_is_of_before_that_time_is_passed_over(settings: Settings) -> None:
    sent = [event(number, f"r{number % 3}") for number in range(1, 61)]
    await write(settings, *map(mirrored, sent))
    # A repeat of an old one, behind what is newer.
    await write(settings, mirrored(sent[0]))
    found, archive = await read(settings, FIRST_MS + 31)
    assert found == sent[30:]
    assert archive.read == 30 + archive.earlier
    assert (await read(settings, FIRST_MS + 1_000))[0] == []


async def test_what_is_no_event_and_heads_of_events_are_counted(settings: Settings) -> None:
    sent = [event(number, "r") for number in range(1, 4)]
    rubbish = [
        Message(b"k", value, []) for value in (b"rubbish", b"{}", None, b"\xff", b"[" * 9_999)
    ]
    await write(
        settings,
        mirrored(sent[0]),
        *rubbish,
        head_of(mirrored(sent[1]), "too large"),
        head_of(mirrored(sent[1]), "too large"),
        mirrored(sent[2]),
    )
    found, archive = await read(settings)
    assert found == [sent[0], sent[2]]
    assert (archive.read, archive.foreign, archive.heads) == (9, 5, 2)
    assert len(archive.left_out) == 1


async def test_an_empty_topic_has_no_events(settings: Settings) -> None:
    found, archive = await read(settings)
    assert (found, archive.read) == ([], 0)


@pytest.mark.parametrize("topic", ["no topic/", "events-that-nobody-made"])
async def test_a_topic_that_cannot_be_read_is_an_error(settings: Settings, topic: str) -> None:
    with pytest.raises(ArchiveError):
        await read(settings.model_copy(update={"kafka_events_topic": topic}))


async def test_brokers_that_do_not_answer_are_an_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kafka_bridge.restore.topic_reader._TIMEOUT_S", 0.5)
    nobody: Any = {"kafka_brokers": f"{LOOPBACK}:{free_port()}"}
    with pytest.raises(ArchiveError):
        await read(settings.model_copy(update=nobody))
