"""Messages on their way to Kafka: batch by batch, each acknowledged as a whole.

Guarantee: batches are written to every partition in the order in which they were sent. When one
fails, nothing behind it is written either (idempotent producer, no gaps); after `reopen` the same
batches are to be sent again from the first that failed, so that repeats occur, and first
occurrences stay in order. librdkafka waits for brokers that are away as long as it takes.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from common.settings import Settings
from kafka_bridge.brokers import MESSAGE_MAX_BYTES, connection
from kafka_bridge.message import Message

log = logging.getLogger("roomcast.kafka")

QUEUED_MAX: Final = 100_000
QUEUED_MAX_KIB: Final = 256 * 1024
_POLL_S: Final = 0.1
_ASK_TIMEOUT_S: Final = 1.5
_QUEUE_FULL_PAUSE_S: Final = 0.02
_CLOSE_TIMEOUT_S: Final = 5.0

_CONFIG: Final[dict[str, Any]] = {
    "enable.idempotence": True,
    "enable.gapless.guarantee": True,
    "acks": "all",
    "compression.type": "lz4",
    # No message is given up: the event stream holds what waits, and librdkafka what is under way.
    "message.timeout.ms": 0,
    "linger.ms": 2,
    "batch.num.messages": 10_000,
    "batch.size": MESSAGE_MAX_BYTES,
    "queue.buffering.max.messages": QUEUED_MAX,
    "queue.buffering.max.kbytes": QUEUED_MAX_KIB,
    "partitioner": "murmur2_random",
}


class NotWrittenError(Exception):
    """The brokers refused a batch, or its fate is unknown."""


class _Batch:
    """Counts the broker's acknowledgements of one batch; called in the polling thread."""

    def __init__(self, size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = size
        self._error: KafkaError | None = None
        self.places: list[tuple[int, int]] = [(-1, -1)] * size
        self.written: asyncio.Future[list[tuple[int, int]]] = self._loop.create_future()
        # Whoever gave up waiting does not read it.
        self.written.add_done_callback(lambda done: done.cancelled() or done.exception())

    def delivered(self, index: int, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.places[index] = (message.partition(), message.offset())
        elif self._error is None:
            self._error = error
        self._left -= 1
        if self._left == 0 or error is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if self.written.done():
            return
        if self._error is not None:
            self.written.set_exception(NotWrittenError(self._error.str()))
        else:
            self.written.set_result(self.places)


class Outbox:
    """An idempotent producer with a thread that takes its acknowledgements.

    Args:
        settings: where the brokers are.
    """

    def __init__(self, settings: Settings) -> None:
        self._config = connection(settings) | _CONFIG
        self._producer: Any = None
        self._polling: threading.Thread | None = None
        self._stop = threading.Event()

    def open(self) -> None:
        """Make the producer; it connects by itself."""
        self._stop = threading.Event()
        self._producer = Producer(self._config)
        self._polling = threading.Thread(
            target=_poll, args=(self._producer, self._stop), name="kafka-poll", daemon=True
        )
        self._polling.start()

    async def send(
        self, topic: str, messages: Sequence[Message]
    ) -> "asyncio.Future[list[tuple[int, int]]]":
        """Queue a batch behind those that were sent before.

        Returns:
            A future of where each message is (partition, offset), once all of them were
            acknowledged. It may end with `NotWrittenError`; then `reopen`.

        Raises:
            NotWrittenError: the producer is broken; `reopen`.
        """
        batch = _Batch(len(messages))
        if not messages:
            batch.written.set_result([])
            return batch.written
        produce, delivered = self._producer.produce, batch.delivered
        for index, (key, value, headers, at_ms, _, _) in enumerate(messages):
            while True:
                try:
                    produce(
                        topic,
                        value,
                        key,
                        on_delivery=partial(delivered, index),
                        timestamp=at_ms,
                        headers=headers,
                    )
                except BufferError:
                    await asyncio.sleep(_QUEUE_FULL_PAUSE_S)
                except KafkaException as error:
                    raise NotWrittenError(str(error)) from None
                else:
                    break
        return batch.written

    async def trouble(self, topic: str) -> str | None:
        """Ask the brokers for a topic: why they can't be reached, or None."""
        if self._producer is None:
            return "kafka: the producer is made again"
        try:
            found = await asyncio.to_thread(
                self._producer.list_topics, topic, timeout=_ASK_TIMEOUT_S
            )
        except KafkaException as error:
            return f"kafka: {error}"
        gone = found.topics[topic].error
        return f"kafka: {topic}: {gone.str()}" if gone is not None else None

    async def reopen(self) -> None:
        """Forget everything under way and begin with a new producer."""
        await self.close(timeout_s=0)
        self.open()

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Wait for what is under way, as long as given, and end."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        await asyncio.to_thread(_end, producer, self._stop, self._polling, timeout_s)


def _poll(producer: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        producer.poll(_POLL_S)


def _end(
    producer: Any, stop: threading.Event, polling: threading.Thread | None, timeout_s: float
) -> None:
    if timeout_s:
        producer.flush(timeout_s)
    producer.purge(in_queue=True, in_flight=True, blocking=False)
    producer.flush(1.0)
    stop.set()
    if polling:
        polling.join()
