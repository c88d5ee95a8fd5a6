"""Messages on their way to Kafka: batch by batch, each acknowledged as a whole.

Guarantee: batches are written to every partition in the order in which they were sent. When one
fails, nothing behind it is written either (idempotent producer, no gaps); after `reopen` the same
batches are to be sent again from the first that failed, so that repeats occur, and first
occurrences stay in order. A batch that is refused for what is in it is for `careful` to write.
librdkafka waits for brokers that are away as long as it takes.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from common.config.settings import Settings
from common.errors import RoomcastError
from kafka_bridge.brokers import MESSAGE_MAX_BYTES, connection, kafka_outage, report_lost
from kafka_bridge.messages.message import Message

log = logging.getLogger("roomcast.kafka")

QUEUED_MAX: Final = 100_000
QUEUED_MAX_KIB: Final = 256 * 1024
# The loop asks. A thread would need the interpreter's lock once for each acknowledgement, while the
# loop has it; with that, and a partial for each, a third of all time went.
_POLL_S: Final = 0.002
_POLL_AWAY_S: Final = 0.05
_POLL_IDLE_S: Final = 0.5
_ASK_TIMEOUT_S: Final = 1.5
_QUEUE_FULL_PAUSE_S: Final = 0.02
_CLOSE_TIMEOUT_S: Final = 5.0
_PURGE_TRIES: Final = 5
_BROKEN: Final = (KafkaException, SystemError)
"""Exceptions that report an unrecoverable error of the producer, from any call.

confluent-kafka leaves the exception set while it goes on with callbacks, which may turn it into a
`SystemError` (`error_cb` and `CallState_end` in its confluent_kafka.c); `error_cb` is never called.
"""
_UNTOLD: Final = KafkaError(KafkaError._FATAL)  # noqa: SLF001  # it is public, as librdkafka's
STALLED_S: Final = 10.0
STALLED: Final = KafkaError(KafkaError._TIMED_OUT)  # noqa: SLF001
"""That brokers answer, and acknowledge nothing for so long."""
_ANY_PARTITION: Final = -1
"""That is: the one of the key."""

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


_SINGLE: Final[dict[str, Any]] = {
    # One message at a time, which is in order as it is; a refusal ends nothing, and has its code.
    "enable.idempotence": False,
    "enable.gapless.guarantee": False,
    "max.in.flight.requests.per.connection": 1,
    "linger.ms": 0,
}
_BATCH_LEAST_BYTES: Final = 16 * 1024
_TOO_LARGE: Final = KafkaError(KafkaError.MSG_SIZE_TOO_LARGE).str()


class NotWrittenError(RoomcastError):
    """The brokers refused a batch, or its fate is unknown.

    Attributes:
        code: of the error, as `confluent_kafka.KafkaError` has them.
    """

    def __init__(self, error: KafkaError) -> None:
        super().__init__(error.str())
        self.code: int = error.code()

    @property
    def is_of_size(self) -> bool:
        """True if a message, or the whole batch, was too large."""
        # Of what made the producer end itself there is only the text.
        sizes = (
            KafkaError.MSG_SIZE_TOO_LARGE,
            KafkaError.RECORD_LIST_TOO_LARGE,
            KafkaError.INVALID_MSG_SIZE,
        )
        return self.code in sizes or _TOO_LARGE in str(self)


Place = tuple[int, int]
"""Partition, and offset in it; `UNKNOWN` where the broker did not say."""
UNKNOWN: Final[Place] = (-1, -1)


class _Batch:
    """Counts the broker's acknowledgements of one batch."""

    def __init__(self, size: int, *, placed: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._left = size
        self._error: KafkaError | None = None
        self._places: list[Place] = [UNKNOWN] * size if placed else []
        self.written: asyncio.Future[list[Place]] = self._loop.create_future()
        # Whoever gave up waiting does not read it.
        self.written.add_done_callback(lambda done: done.cancelled() or done.exception())

    def delivered(self, error: KafkaError | None, _: Any) -> None:
        self._left -= 1
        if error is not None and self._error is None:
            self._error = error
        if self._left == 0 or error is not None:
            # While a producer is closed, it is a thread that takes what it has to say.
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._finish)

    def placed(self, index: int, error: KafkaError | None, message: Any) -> None:
        # A broker that had it already, before it was repeated over a new connection, does not say
        # where.
        if error is None and message.offset() is not None:
            self._places[index] = (message.partition(), message.offset())
        self.delivered(error, message)

    def give_up(self, error: KafkaError) -> None:
        """End it, and ignore any later results for its messages."""
        self._error = self._error or error
        self._finish()

    def _finish(self) -> None:
        if self.written.done():
            return
        if self._error is not None:
            self.written.set_exception(NotWrittenError(self._error))
        else:
            self.written.set_result(self._places)


class Outbox:
    """An idempotent producer, whose acknowledgements the loop asks for while any are due.

    Args:
        settings: where the brokers are.
        single: whether one message is sent at a time, to learn why it is refused.
    """

    def __init__(self, settings: Settings, *, single: bool = False) -> None:
        self._config = connection(settings) | _CONFIG | (_SINGLE if single else {})
        self._producer: Any = None
        self._batches: set[_Batch] = set()
        self._pause_s = _POLL_IDLE_S
        self._timer: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Make the producer; it connects by itself."""
        self._producer = Producer(self._config)
        self._poll_in(_POLL_S)

    async def send(
        self, topic: str, messages: Sequence[Message], *, placed: bool = False
    ) -> "asyncio.Future[list[Place]]":
        """Queue a batch behind those that were sent before.

        Args:
            topic: where to.
            messages: the batch.
            placed: whether to tell where they are; that takes time.

        Returns:
            A future of where each message is (of nothing, unless `placed`), once all of them were
            acknowledged. It may end with `NotWrittenError`; then `reopen`.

        Raises:
            NotWrittenError: the producer is broken; `reopen`.
        """
        batch = _Batch(len(messages), placed=placed)
        if not messages:
            batch.written.set_result([])
            return batch.written
        self._batches.add(batch)
        batch.written.add_done_callback(lambda _: self._batches.discard(batch))
        produce, delivered = self._producer.produce, batch.delivered
        for index, (key, value, headers, at_ms, _, _) in enumerate(messages):
            told = partial(batch.placed, index) if placed else delivered
            while True:
                try:
                    produce(topic, value, key, _ANY_PARTITION, told, None, at_ms, headers)
                except BufferError:
                    await asyncio.sleep(_QUEUE_FULL_PAUSE_S)
                except KafkaException as error:
                    raise NotWrittenError(error.args[0]) from None
                else:
                    break
        if self._pause_s > _POLL_S:
            self._poll_in(_POLL_S)
        return batch.written

    def _poll_in(self, pause_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._pause_s = pause_s
        self._timer = asyncio.get_running_loop().call_later(pause_s, self._poll)

    def _poll(self) -> None:
        pause_s = min(2 * self._pause_s, _POLL_AWAY_S)
        try:
            if self._producer.poll(0):
                pause_s = _POLL_S
            elif not len(self._producer):
                pause_s = _POLL_IDLE_S
        except _BROKEN as error:
            # The exception may have swallowed callbacks of this poll.
            reason = error.args[0] if isinstance(error, KafkaException) else _UNTOLD
            for batch in [*self._batches]:
                batch.give_up(reason)
        finally:
            self._poll_in(pause_s)

    async def trouble(self, topic: str) -> str | None:
        """Ask the brokers for a topic: why they can't be reached, or None. Reports their outage."""
        if self._producer is None:
            return "kafka: the producer is made again"
        try:
            found = await asyncio.to_thread(
                self._producer.list_topics, topic, timeout=_ASK_TIMEOUT_S
            )
        except KafkaException as error:
            report_lost("asking", error)
            return f"kafka: {error.args[0].str()}"
        kafka_outage.back("asking")
        gone = found.topics[topic].error
        return f"kafka: {topic}: {gone.str()}" if gone is not None else None

    async def answers(self, topic: str) -> bool:
        """Return whether the brokers answer, even if the topic is gone."""
        if self._producer is None:
            return False
        try:
            await asyncio.to_thread(self._producer.list_topics, topic, timeout=_ASK_TIMEOUT_S)
        except KafkaException:
            return False
        return True

    async def reopen(self) -> None:
        """Give up everything under way and begin with a new producer."""
        await self.close(timeout_s=0)
        # Their callbacks may be lost with an exception from the producer.
        for batch in [*self._batches]:
            batch.give_up(_UNTOLD)
        self.open()

    async def send_less_at_once(self) -> None:
        """Send half as much together from now on; nothing may be under way."""
        size = max(_BATCH_LEAST_BYTES, self._config["batch.size"] // 2)
        if size < self._config["batch.size"]:
            self._config["batch.size"] = size
            log.info("smaller batches are sent from now on", extra={"bytes": size})
            await self.reopen()

    async def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """Wait for what is under way, as long as given, and end."""
        if self._producer is None:
            return
        producer, self._producer = self._producer, None
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.to_thread(_end, producer, timeout_s)


def _end(producer: Any, timeout_s: float) -> None:
    with contextlib.suppress(*_BROKEN):
        producer.flush(timeout_s)
    producer.purge(in_queue=True, in_flight=True, blocking=False)
    # To purge what is in flight is such an error in itself; each message is to be told still, or it
    # is never freed.
    for _ in range(_PURGE_TRIES):
        with contextlib.suppress(*_BROKEN):
            if not producer.flush(1.0):
                return
