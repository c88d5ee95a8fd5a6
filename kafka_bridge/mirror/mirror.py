"""Events to Kafka: read from the event stream, written in order, acknowledged after the broker.

Guarantee: every event but `mirrored` is written at least once, or in its place its head, if the
topic does not take it; the first occurrences of a channel's
events are in the order of the stream. Nothing is acknowledged on the stream before the broker has
acknowledged it. While Kafka is away, at most `IN_FLIGHT_MAX` batches are held here, and all the
rest waits in the stream.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec
from confluent_kafka import KafkaException
from redis.asyncio import Redis

from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.events.event import Event
from common.events.group_reader import EventReader
from common.events.payloads import Mirrored, encode
from common.events.reader_loop import ReaderLoop
from common.model.channels import KAFKA_GROUP
from common.model.timestamps import format_time
from common.process.backoff import jittered
from common.redis.keys import ShardKeys
from common.redis.scripts import Script
from kafka_bridge import metrics
from kafka_bridge.brokers import kafka_outage, make_topics, report_lost
from kafka_bridge.messages.cloud_events import head_of, to_message
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror.careful_writer import CarefulWriter
from kafka_bridge.mirror.producer import STALLED, STALLED_S, UNKNOWN, NotWrittenError, Outbox, Place

log = logging.getLogger("roomcast.kafka")

IN_FLIGHT_MAX: Final = 3
STORY_MAX: Final = 1_000
"""Publications that one `mirrored` event tells of at most."""
_WRITTEN_TIMEOUT_S: Final = 1.0


@dataclass(slots=True)
class _Sent:
    """A batch that is under way: its events, and the messages of those that are mirrored.

    `carefully`: it is written in pieces once it is the first, and nothing behind it before that.
    """

    events: list[Event]
    messages: list[Message]
    at: float
    handed_over_at: float = 0.0
    carefully: bool = False
    written: "asyncio.Future[list[Place]] | None" = None

    @property
    def failed(self) -> bool:
        """True if it is known not to have been written as a whole."""
        written = self.written
        return written is not None and written.done() and written.exception() is not None


class Mirror:
    """Mirrors while this replica leads.

    Args:
        redis: a client whose replies may take a second and more.
        keys: of the shard.
        settings: topic, batch size and enabled readers.
        outbox: opened.
    """

    def __init__(self, redis: Redis, keys: ShardKeys, settings: Settings, outbox: Outbox) -> None:
        self._settings = settings
        self._topic = settings.kafka_events_topic
        self._reader = EventReader(
            redis, settings.redis_url, keys, KAFKA_GROUP, batch=settings.kafka_batch_max
        )
        self._loop = ReaderLoop(
            self._reader,
            self._send,
            delay_s=settings.kafka_delay_s,
            note_lead=metrics.leads.set,
            wait_for_room=self._has_room,
        )
        self._mirrored = Script("mirrored")
        self._outbox = outbox
        self._careful = CarefulWriter(settings, outbox, head_of)
        self._tells_history = "history" in settings.reader_groups
        self._under_way: deque[_Sent] = deque()
        self._changed = asyncio.Condition()
        self._sending = asyncio.Lock()
        self._stopping = False
        self._kafka_trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Reason why nothing is mirrored now, or None."""
        return f"redis: {self._loop.trouble}" if self._loop.trouble else self._kafka_trouble

    async def run(self) -> None:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._loop.run())
            group.create_task(self._settle())

    async def stop(self) -> None:
        """Take nothing more; return when what is under way is settled, and give the lead up."""
        self._stopping = True
        self._loop.stop()
        async with self._changed:
            await self._changed.wait_for(lambda: not self._under_way)
        try:
            await self._reader.close()
        except REDIS_ERRORS as error:
            log.info("the lead runs out by itself", extra={"reason": str(error)})

    async def _has_room(self) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._under_way) < IN_FLIGHT_MAX)

    async def _send(self, events: list[Event]) -> None:
        messages = []
        for event in events:
            try:
                message = to_message(event)
            except (ValueError, msgspec.MsgspecError, RecursionError) as error:
                # Somebody else wrote into the stream; to stop here would stop everything.
                log.error(  # noqa: TRY400
                    "an entry of the event stream is not an event; it is not mirrored",
                    extra={"entry": event.id, "reason": str(error)},
                )
                metrics.left_out.labels(self._topic, "lost").inc()
                continue
            if message is not None:
                messages.append(message)
        sent = _Sent(events, messages, time.perf_counter())
        async with self._sending:
            self._under_way.append(sent)
            await self._hand_over_next()
        async with self._changed:
            self._changed.notify_all()

    async def _hand_over_next(self) -> None:
        """Hand the next batches over, up to one that must be written carefully."""
        for sent in [*self._under_way]:  # the first may be settled meanwhile
            if sent.written is None:
                sent.carefully = sent.carefully or self._careful.suspects(sent.messages)
            if sent.written is None and not sent.carefully:
                await self._hand_over(sent)
            if sent.carefully or sent.failed:
                # Nothing may be written ahead of what was not: a producer that refuses a message
                # by itself takes those behind it.
                return

    async def _hand_over(self, sent: _Sent) -> None:
        sent.handed_over_at = time.perf_counter()
        try:
            sent.written = await self._outbox.send(
                self._topic, sent.messages, placed=self._tells_history
            )
        except NotWrittenError as error:
            sent.written = asyncio.get_running_loop().create_future()
            sent.written.set_exception(error)

    async def _settle(self) -> None:
        waits = jittered()
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._under_way))
            sent = self._under_way[0]
            if sent.carefully:
                # Whatever is being handed over is ahead of it, or waits for it.
                sent.written = await self._write_carefully(sent)
            if sent.written is None:  # being handed over; the producer's queue is full
                await asyncio.sleep(0.01)
                continue
            done, _ = await asyncio.wait([sent.written], timeout=_WRITTEN_TIMEOUT_S)
            if not done:
                self._kafka_trouble = "kafka: the brokers do not acknowledge"
                await self._send_what_is_stalled(sent)
                continue
            try:
                places = sent.written.result()
            except NotWrittenError as error:
                self._kafka_trouble = f"kafka: {error}"
                log.warning("kafka refused a batch; sending again", extra={"reason": str(error)})
                await asyncio.sleep(next(waits))
                await self._send_again(carefully=True)
                continue
            waits = jittered()
            await self._acknowledge(sent, places)
            kafka_outage.back("events topic")
            self._kafka_trouble = None
            metrics.mirrored.inc(len(sent.messages))
            metrics.mirror_seconds.observe(time.perf_counter() - sent.at)
            async with self._changed:
                self._under_way.popleft()
                self._changed.notify_all()
            if sent.carefully:
                async with self._sending:
                    await self._hand_over_next()

    async def _write_carefully(self, sent: _Sent) -> "asyncio.Future[list[Place]]":
        """Write the first batch in pieces; returns when that ended one way or the other."""
        writing: asyncio.Future[list[Place]] = asyncio.ensure_future(
            self._careful.write(self._topic, sent.messages)
        )
        try:
            while not writing.done():
                await asyncio.wait([writing], timeout=_WRITTEN_TIMEOUT_S)
                quiet_s = time.perf_counter() - self._careful.progressed_at
                if writing.done() or quiet_s < _WRITTEN_TIMEOUT_S:
                    continue
                self._kafka_trouble = "kafka: the brokers do not acknowledge"
                if quiet_s >= STALLED_S and await self._outbox.answers(self._topic):
                    self._say_stalled()
                    break
        finally:
            if not writing.done():
                writing.cancel()
                await asyncio.wait([writing])
        if writing.cancelled():
            writing = asyncio.get_running_loop().create_future()
            writing.set_exception(NotWrittenError(STALLED))
        return writing

    async def _send_what_is_stalled(self, sent: _Sent) -> None:
        """Begin anew with brokers that answer but forgot the producer; librdkafka would wait."""
        if time.perf_counter() - sent.handed_over_at < STALLED_S:
            return
        if await self._outbox.answers(self._topic):
            self._say_stalled()
            await self._send_again(carefully=False)

    def _say_stalled(self) -> None:
        # Brokers that keep nothing on disk behave like this soon after an outage.
        expected = self._stopping or kafka_outage.is_recent
        level = logging.INFO if expected else logging.WARNING
        log.log(level, "kafka answers, but acknowledges nothing; sending again")

    async def _send_again(self, *, carefully: bool) -> None:
        """Send all that is under way again, with a new producer; the first may be at fault."""
        async with self._sending:
            metrics.mirror_retries.inc()
            await self._outbox.reopen()
            try:
                # It may be gone: a broker that keeps nothing on disk was restarted.
                await asyncio.to_thread(make_topics, self._settings, self._topic)
            except KafkaException as error:
                report_lost("events topic", error)
            else:
                kafka_outage.back("events topic")
            for sent in self._under_way:
                sent.written = None
            self._under_way[0].carefully |= carefully
            await self._hand_over_next()

    async def _acknowledge(self, sent: _Sent, places: list[Place]) -> None:
        """Acknowledge on the stream and, in the same step, tell history where it is in Kafka."""
        stories = self._stories(sent, places) if self._tells_history else []
        # Nothing is written of what was acknowledged already: by the same call, whose reply was
        # lost, or by another leader.
        await self._loop.acknowledge(sent.events, self._mirrored, self._reader.name, *stories)

    def _stories(self, sent: _Sent, places: list[Place]) -> list[bytes]:
        """Texts of the `mirrored` events of a batch.

        What is there at an unknown place is left out: history can't tell of it.
        """
        # Epoch and offset are as they stand in the frame, JSON already.
        entries = [
            (at_ms, b'[%b,"%b",%b,%d,%d]' % (_json(key), epoch, offset, *place))
            for (key, _, _, at_ms, epoch, offset), place in zip(sent.messages, places, strict=True)
            if key and epoch and place != UNKNOWN
        ]
        at = format_time(time.time_ns() // 1_000_000)
        stories = (
            entries[first : first + STORY_MAX] for first in range(0, len(entries), STORY_MAX)
        )
        return [
            encode(
                Mirrored(
                    topic=self._topic,
                    at=at,
                    first_ms=story[0][0],
                    last_ms=story[-1][0],
                    entries=msgspec.Raw(b"[%b]" % b",".join([entry for _, entry in story])),
                )
            )
            for story in stories
        ]


@lru_cache(maxsize=10_000)
def _json(key: bytes) -> bytes:
    return msgspec.json.encode(key.decode())
