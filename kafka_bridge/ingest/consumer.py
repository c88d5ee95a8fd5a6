"""Notifications from Kafka: the requests topic into Redis's lanes.

Guarantee: a message's offset is committed only after Redis has its jobs, or the dead-letter topic
has it. A message that comes again (a crash between the two, a rebalance) is found by its
idempotency key and queued no second time, for as long as `IDEMPOTENCY_TTL_S` remembers it. The
messages of a partition are queued in their order.
"""

import asyncio
import logging
import operator
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Taken

from common.config.settings import Settings
from common.jobs.accept_script import Verdict
from common.process.backoff import jittered
from kafka_bridge import metrics
from kafka_bridge.brokers import connection, kafka_outage, make_topics, report_lost
from kafka_bridge.ingest.job_queue import JobQueue, NeverFitsError, NoRoomError
from kafka_bridge.ingest.requests import (
    Headers,
    InvalidRequestError,
    Request,
    head_of,
    letter,
    plan,
)
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror.careful_writer import CarefulWriter
from kafka_bridge.mirror.producer import STALLED, STALLED_S, NotWrittenError, Outbox

log = logging.getLogger("roomcast.kafka")

GROUP: Final = "roomcast-bridge"
BATCH_MAX: Final = 500
MAX_POLL_INTERVAL_S: Final = 10
"""Tansu answers a join only after this."""
_POLL_S: Final = 0.5
_REFUSED_S: Final = 5.0
"""Time after its last reported error until a consumer counts as healthy again."""

# confluent-kafka returns a list and leaves an exception set if a name is no UTF-8. A call that
# Python has specialised does not notice; the exception then comes out of whatever is called next.
_ask_headers: Final = operator.methodcaller("headers")

_CONFIG: Final[dict[str, Any]] = {
    "group.id": GROUP,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "max.poll.interval.ms": MAX_POLL_INTERVAL_S * 1000,
    "session.timeout.ms": 6_000,
    "allow.auto.create.topics": True,
    # What librdkafka may read ahead.
    "queued.max.messages.kbytes": 16 * 1024,
    "fetch.message.max.bytes": 2 * 1024 * 1024,
}


class Ingest:
    """Consumes the requests topic; one thread makes all calls of the consumer.

    Args:
        settings: topics, brokers.
        admission: into Redis.
        outbox: opened; for the dead-letter topic, and for nothing else.
    """

    def __init__(self, settings: Settings, admission: JobQueue, outbox: Outbox) -> None:
        self._settings = settings
        self._admission = admission
        self._outbox = outbox
        self._careful = CarefulWriter(settings, outbox, head_of)
        self._thread = ThreadPoolExecutor(1, "kafka-consume")
        self._consumer: Any = None
        self._paused = False
        self._topic_is_gone = False
        self._stopping = False
        self._ended = asyncio.Event()
        self._early: list[Taken] = []
        # More jobs at once than a lane may ever hold for one client would wait for ever.
        self._jobs_max = settings.client_lane_jobs or settings.lane_max_jobs
        self._refused: str | None = None
        self._refused_at = 0.0
        self.trouble: str | None = None
        """Reason why nothing is consumed now, or None."""

    async def run(self) -> None:
        """Take requests until `stop`, then wait to be cancelled."""
        try:
            await self._open()
            while not self._stopping:
                if self._topic_is_gone:
                    await self._make_topics()
                messages = await self._call(self._consume)
                if messages:
                    await self._take(messages)
                elif self._refused and time.perf_counter() - self._refused_at > _REFUSED_S:
                    self._refused = self.trouble = None
        finally:
            await self._close()
            self._ended.set()
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Take nothing more; return when what was taken is committed."""
        self._stopping = True
        await self._ended.wait()

    async def _open(self) -> None:
        for wait in jittered():
            if await self._make_topics():
                break
            await asyncio.sleep(wait)
            if self._stopping:
                return
        self._consumer = Consumer(connection(self._settings) | _CONFIG)
        await self._call(self._subscribe)

    async def _make_topics(self) -> bool:
        """Make what is missing; a broker that keeps nothing on disk forgets them."""
        topics = (self._settings.kafka_requests_topic, self._settings.kafka_dead_topic)
        try:
            await asyncio.to_thread(make_topics, self._settings, *topics)
        except KafkaException as error:
            report_lost("topics", error)
            return False
        kafka_outage.back("topics")
        self._topic_is_gone = False
        return True

    def _subscribe(self) -> None:
        self._consumer.subscribe(
            [self._settings.kafka_requests_topic], on_assign=self._assigned, on_lost=_lost
        )

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        log.info(
            "partitions of the topic of requests were assigned",
            extra={"assigned": [each.partition for each in partitions]},
        )
        consumer.assign(partitions)
        if self._paused:
            consumer.pause(partitions)

    async def _close(self) -> None:
        try:
            if self._consumer is not None:
                await self._call(self._consumer.close)
        finally:
            self._thread.shutdown(wait=False)

    async def _call(self, what: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, what, *arguments)

    def _consume(self) -> list[Taken]:
        if self._early:
            early, self._early = self._early, []
            return early
        found = self._consumer.consume(BATCH_MAX, _POLL_S)
        return [message for message in found if not self._is_error(message)]

    def _is_error(self, message: Taken) -> bool:
        error = message.error()
        if error is None:
            return False
        # A broker that keeps nothing on disk comes back without its topics.
        level = logging.INFO if kafka_outage.is_recent else logging.WARNING
        log.log(level, "requests can't be read from kafka", extra={"reason": error.str()})
        self._refused = self.trouble = f"kafka: {error.str()}"
        self._refused_at = time.perf_counter()
        if error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            self._topic_is_gone = True
        return True

    async def _take(self, messages: list[Taken]) -> None:
        """Queue a batch or send it to the dead letters, then commit it."""
        rubbish: list[tuple[Request, str]] = []
        planned = []
        requests = [_request_of(message) for message in messages]
        for request in requests:
            try:
                planned.append((request, plan(request, jobs_max=self._jobs_max)))
            except InvalidRequestError as error:
                rubbish.append((request, str(error)))
            except Exception as error:  # whatever it is, it must not hold what is behind it
                log.exception("a request from kafka can't be handled; it goes to the dead letters")
                rubbish.append((request, f"internal: {type(error).__name__}"))
        while planned:
            try:
                verdicts = await self._admission.admit([one for _, one in planned])
            except NoRoomError as error:
                await self._wait_for_room(str(error))
                continue
            except NeverFitsError as error:
                rubbish.append((planned.pop(0)[0], str(error)))
                continue
            for (request, _), verdict in zip(planned, verdicts, strict=False):
                if verdict is Verdict.CONFLICT:
                    rubbish.append((request, "another message with this id was accepted before"))
                else:
                    is_new = verdict is Verdict.OK
                    metrics.ingested.labels("queued" if is_new else "repeated").inc()
            planned = planned[len(verdicts) :]
        await self._resume()
        await self._send_to_dead_letters(rubbish)
        await self._commit(requests)
        self.trouble = None

    async def _wait_for_room(self, reason: str) -> None:
        """Pause consumption, but stay a member of the group."""
        if not self._paused:
            log.warning("reading requests from kafka is paused", extra={"reason": reason})
        self.trouble = reason
        self._paused = True
        metrics.ingest_paused.set(1)
        await self._call(self._idle)

    def _idle(self) -> None:
        self._consumer.pause(self._consumer.assignment())
        message = self._consumer.poll(_POLL_S)
        # Assigned this moment, or read ahead of the pause.
        if message is not None and not self._is_error(message):
            self._early.append(message)

    async def _resume(self) -> None:
        if self._paused:
            self._paused = False
            metrics.ingest_paused.set(0)
            await self._call(lambda: self._consumer.resume(self._consumer.assignment()))
            log.info("requests are taken again")

    async def _send_to_dead_letters(self, rubbish: list[tuple[Request, str]]) -> None:
        if not rubbish:
            return
        letters = [letter(*one) for one in rubbish]
        for request, reason in rubbish:
            log.warning(
                "a request from kafka is not a notification; it goes to the dead letters",
                extra={
                    "partition": request.partition,
                    "offset": request.offset,
                    "reason": reason[:300],
                },
            )
        write = self._write_all
        for wait in jittered():
            writing = asyncio.ensure_future(write(letters))
            begun_at = time.perf_counter()
            try:
                while not writing.done():
                    await asyncio.wait([writing], timeout=_POLL_S)
                    if not writing.done():
                        await self._wait_for_room("kafka: the dead letters can't be written")
                        await self._check_progress(max(begun_at, self._careful.progressed_at))
                writing.result()
            except NotWrittenError as error:
                log.warning(
                    "dead letters can't be written to kafka; trying again",
                    extra={"reason": str(error)},
                )
                writing.cancel()
                await asyncio.wait([writing])
                await self._outbox.reopen()
                await self._make_topics()
                await self._wait_for_room(f"kafka: {error}")
                await asyncio.sleep(wait)
                # One of them may be at fault.
                write = self._write_carefully
            else:
                break
            finally:
                writing.cancel()
        await self._resume()
        metrics.ingested.labels("dead").inc(len(rubbish))

    async def _check_progress(self, since: float) -> None:
        """Check that brokers which answer did not forget the producer: librdkafka would wait.

        Raises:
            NotWrittenError: that is so.
        """
        quiet_s = time.perf_counter() - since
        if quiet_s >= STALLED_S and await self._outbox.answers(self._settings.kafka_dead_topic):
            raise NotWrittenError(STALLED)

    async def _write_all(self, letters: list[Message]) -> None:
        await (await self._outbox.send(self._settings.kafka_dead_topic, letters))

    async def _write_carefully(self, letters: list[Message]) -> None:
        await self._careful.write(self._settings.kafka_dead_topic, letters)

    async def _commit(self, requests: list[Request]) -> None:
        ends: dict[tuple[str, int], int] = {}
        for request in requests:
            ends[request.topic, request.partition] = request.offset + 1
        offsets = [TopicPartition(topic, part, end) for (topic, part), end in ends.items()]
        try:
            await self._call(lambda: self._consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as error:
            # Whoever gets them again finds them accepted already.
            log.warning(
                "offsets can't be committed to kafka; requests may be read again",
                extra={"reason": str(error)},
            )


def _lost(_: Any, partitions: list[TopicPartition]) -> None:
    log.info("partitions lost", extra={"lost": [each.partition for each in partitions]})


def _request_of(message: Any) -> Request:
    # Any: librdkafka's types leave open whether a message that was taken has a place.
    return Request(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        _headers_of(message),
    )


def _headers_of(message: Any) -> Headers | None:
    """Headers; None if a name is not UTF-8. Ask once: the second answer has null pointers in it."""
    try:
        return _ask_headers(message) or []
    except (SystemError, UnicodeDecodeError):
        return None
