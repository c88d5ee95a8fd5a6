"""The events topic, read from a time on to its end, in the order of the event stream."""

import contextlib
import heapq
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from common.config.settings import Settings
from common.errors import RoomcastError
from common.events.event import Event, stream_order
from kafka_bridge.brokers import connection
from kafka_bridge.messages.cloud_events import LeftOutError, MirroredEvent, from_message

log = logging.getLogger("roomcast.kafka")

_TIMEOUT_S: Final = 10.0
_CHUNK: Final = 1_000
_QUIET_S: Final = 30.0

_CONFIG: Final[dict[str, Any]] = {
    "group.id": "roomcast-restore",  # never joined
    "enable.auto.commit": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": 8 * 1024,
}


class ArchiveError(RoomcastError):
    """The topic can't be read; the text says why."""


class Archive:
    """The topic as it is when it is opened. All calls block.

    Attributes:
        read: messages read so far.
        expected: messages there are from that time on, about.
    """

    def __init__(self, settings: Settings, since_ms: int) -> None:
        self._config = connection(settings) | _CONFIG
        self._topic = settings.kafka_events_topic
        self._since_ms = since_ms
        self.read = 0
        self.expected = 0
        self.foreign = 0
        """Messages that are no events of Roomcast's."""
        self.heads = 0
        """Messages in the place of events that the topic did not take."""
        self.left_out: set[str] = set()
        """Ids of events whose place only their head has: the topic did not take them."""
        self.earlier = 0
        """Events of before that time: repeats are behind what is newer than they are."""

    def events(
        self, new_ones: Callable[[Iterator[MirroredEvent]], Iterator[Event]]
    ) -> Iterator[Event]:
        """All partitions, merged by the order of the stream.

        Args:
            new_ones: leaves out repeats of one partition.

        Raises:
            ArchiveError: the brokers do not answer, or there is no such topic.
        """
        with contextlib.ExitStack() as opened:
            try:
                starts = self._starts()
                partitions = []
                for start in starts:
                    consumer = Consumer(self._config)
                    opened.callback(consumer.close)
                    _, high = consumer.get_watermark_offsets(start, timeout=_TIMEOUT_S)
                    first = high if start.offset < 0 else start.offset
                    self.expected += max(0, high - first)
                    consumer.assign([TopicPartition(self._topic, start.partition, first)])
                    partitions.append(new_ones(self._read(consumer)))
                yield from heapq.merge(*partitions, key=stream_order)
            except KafkaException as error:
                raise ArchiveError(str(error)) from None

    def _starts(self) -> list[TopicPartition]:
        consumer = Consumer(self._config)
        try:
            found = consumer.list_topics(self._topic, timeout=_TIMEOUT_S).topics[self._topic]
            if found.error is not None:
                raise ArchiveError(f"{self._topic}: {found.error.str()}")
            wanted = [
                TopicPartition(self._topic, number, self._since_ms)
                for number in sorted(found.partitions)
            ]
            starts: list[TopicPartition] = consumer.offsets_for_times(wanted, timeout=_TIMEOUT_S)
            return starts
        finally:
            consumer.close()

    def _read(self, consumer: Any) -> Iterator[MirroredEvent]:
        heard_at = time.monotonic()
        while True:
            for message in consumer.consume(_CHUNK, 0.5):
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - public
                        # Its watermarks say less: Tansu's are not exact.
                        return
                    raise ArchiveError(error.str())
                heard_at = time.monotonic()
                self.read += 1
                try:
                    mirrored = from_message(message.value() or b"")
                except LeftOutError as event:
                    self.heads += 1
                    self.left_out.add(str(event))
                except ValueError as reason:
                    self.foreign += 1
                    log.warning(
                        "a message of the topic is not an event; it is passed over",
                        extra={"reason": str(reason)[:300]},
                    )
                else:
                    if mirrored.event.at_ms < self._since_ms:
                        self.earlier += 1
                        continue
                    yield mirrored
            if time.monotonic() - heard_at > _QUIET_S:
                # To stop here and call it restored would be a silent hole.
                raise ArchiveError(f"nothing came for {_QUIET_S:g} s before the partition's end")
