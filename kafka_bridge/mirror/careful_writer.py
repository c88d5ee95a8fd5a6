"""Messages written with care: what the broker refuses alone does not hold what is behind it.

`Outbox` writes a batch whole or not at all, so one message that is too large for its topic would be
sent again for ever, with all that is behind it. This writes such a batch in pieces, in order, each
acknowledged before the next is sent. A piece that is refused is cut; a message that is refused
alone is replaced by a short one in its place, and counted.

Guarantee: every message is written at least once, or replaced, or counted as lost when not even the
short one is taken. First occurrences stay in order. What is wrong with the topic and not with a
message (no permission, no such topic) replaces nothing: it is raised, to be tried again.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from confluent_kafka import KafkaError

from common.config.settings import Settings
from kafka_bridge import metrics
from kafka_bridge.messages.message import Message
from kafka_bridge.mirror.producer import UNKNOWN, NotWrittenError, Outbox, Place

log = logging.getLogger("roomcast.kafka")

Shorten = Callable[[Message, str], Message]
"""Makes the message that goes in the place of another, given why that one was refused."""

OF_THE_MESSAGE: Final = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_MSG_SIZE,
        KafkaError.INVALID_RECORD,
    }
)
"""Codes that say that this message will never be taken as it is."""
OF_THE_TOPIC: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.UNSUPPORTED_FOR_MESSAGE_FORMAT,
        KafkaError.UNSUPPORTED_COMPRESSION_TYPE,
    }
)
"""Codes of brokers that would accept no message at all."""
TRIES: Final = 3
"""Attempts at a message alone before an unclassified error code is blamed on the message."""
FORGIVEN: Final = 100
"""Accepted suspects in a row after which no message is a suspect any more."""
_TRY_PAUSE_S: Final = 1.0
_ISOLATED_SHARE: Final = 4
"""A message of at least this part of a refused piece is what made it too large, most likely."""


class CarefulWriter:
    """Writes where `outbox` alone could not.

    Args:
        settings: where the brokers are.
        outbox: opened; nothing may be under way in it during `write`.
        shorten: what goes in the place of a message that was refused.

    Attributes:
        suspect_bytes: a message of this size was refused alone; None: none was.
        progressed_at: when the broker last said anything to `write`, as `time.perf_counter` counts.
    """

    def __init__(self, settings: Settings, outbox: Outbox, shorten: Shorten) -> None:
        self._settings = settings
        self._outbox = outbox
        self._shorten = shorten
        self._single: Outbox | None = None
        self._own_times = True
        self._taken = 0
        """Suspects in a row that were taken."""
        self.suspect_bytes: int | None = None
        self.progressed_at = 0.0

    def suspects(self, messages: Sequence[Message]) -> bool:
        """Tell whether a message is as large as one that was refused."""
        least = self.suspect_bytes
        return least is not None and any(message.size >= least for message in messages)

    async def write(self, topic: str, messages: Sequence[Message]) -> list[Place]:
        """Write a batch in pieces.

        Returns:
            Where each message is; `UNKNOWN` where another is in its place.

        Raises:
            NotWrittenError: the topic takes nothing. What was written before will be repeated.
        """
        places: list[Place] = []
        pieces = deque(self._pieces(messages))
        too_large = alone_too_large = False
        self._own_times = True
        self.progressed_at = time.perf_counter()
        try:
            while pieces:
                piece = pieces.popleft()
                if len(piece) == 1:
                    place, is_large = await self._write_one(topic, piece[0])
                    alone_too_large |= is_large
                    places.append(place)
                else:
                    try:
                        written = await self._outbox.send(topic, self._timed(piece), placed=True)
                        places += await written
                    except NotWrittenError as error:
                        too_large |= error.is_of_size
                        await self._outbox.reopen()
                        pieces.extendleft(reversed(_cut(piece, of_size=error.is_of_size)))
                self.progressed_at = time.perf_counter()
        finally:
            await self._close_single()
        if too_large and not alone_too_large:
            # The limit is one of all that is sent together, and was below what was.
            await self._outbox.send_less_at_once()
        return places

    def _pieces(self, messages: Sequence[Message]) -> list[Sequence[Message]]:
        """The first message alone: if the topic takes nothing, that shows at once."""
        pieces: list[Sequence[Message]] = [messages[:1]] if messages else []
        begin, least = 1, self.suspect_bytes
        if least is not None:
            for index in range(1, len(messages)):
                if messages[index].size >= least:
                    pieces += [messages[begin:index], messages[index : index + 1]]
                    begin = index + 1
        pieces.append(messages[begin:])
        return [piece for piece in pieces if piece]

    def _timed(self, messages: Sequence[Message]) -> Sequence[Message]:
        return messages if self._own_times else [each._replace(at_ms=0) for each in messages]

    async def _write_one(self, topic: str, message: Message) -> tuple[Place, bool]:
        """Write a message, or one in its place; also tell whether it was too large."""
        size, tries = message.size, 0
        while True:
            (message,) = self._timed([message])
            try:
                place = await self._write_single(topic, message)
            except NotWrittenError as error:
                if error.code == KafkaError.INVALID_TIMESTAMP and message.at_ms:
                    log.warning(
                        "the topic refuses the time of an event; it gets the present one",
                        extra={"topic": topic, "atMs": message.at_ms},
                    )
                    self._own_times = False
                    continue
                if error.code not in OF_THE_MESSAGE:
                    tries += 1
                    if not _may_be_of_the_message(error):
                        raise
                    if tries < TRIES:
                        await asyncio.sleep(_TRY_PAUSE_S)
                        continue
                if error.is_of_size and (self.suspect_bytes is None or size < self.suspect_bytes):
                    self.suspect_bytes = size
                self._taken = 0
                await self._replace(topic, message, error)
                return UNKNOWN, error.is_of_size
            if self.suspect_bytes is not None and size >= self.suspect_bytes:
                # Some are compressed better than others; of many in a row, the limit was raised.
                self._taken += 1
                if self._taken >= FORGIVEN:
                    self.suspect_bytes = None
            return place, False

    async def _replace(self, topic: str, message: Message, refusal: NotWrittenError) -> None:
        reason = str(refusal)
        told = {
            "topic": topic,
            "key": (message.key or b"").decode(errors="replace")[:300],
            "bytes": message.size,
            "reason": reason,
        }
        try:
            await self._write_single(topic, self._shorten(message, reason))
        except NotWrittenError as error:
            if error.code not in OF_THE_MESSAGE:
                raise
            metrics.left_out.labels(topic, "lost").inc()
            log.error("an event is missing in kafka, which refuses even its head", extra=told)  # noqa: TRY400
        else:
            metrics.left_out.labels(topic, "head").inc()
            log.error("kafka refuses an event; only its head was written", extra=told)

    async def _write_single(self, topic: str, message: Message) -> Place:
        if self._single is None:
            self._single = Outbox(self._settings, single=True)
            self._single.open()
        (place,) = await (await self._single.send(topic, [message], placed=True))
        return place

    async def _close_single(self) -> None:
        if self._single is not None:
            single, self._single = self._single, None
            await single.close(timeout_s=0)


def _may_be_of_the_message(error: NotWrittenError) -> bool:
    # Codes below are librdkafka's own: it was closed, for instance.
    return error.code >= KafkaError.UNKNOWN and error.code not in OF_THE_TOPIC


def _cut(piece: Sequence[Message], *, of_size: bool) -> list[Sequence[Message]]:
    """Cut a refused piece: out comes the message that is to blame, if one is, or two halves."""
    if of_size:
        sizes = [message.size for message in piece]
        largest = max(sizes)
        if largest * _ISOLATED_SHARE >= sum(sizes):
            at = sizes.index(largest)
            cut = [piece[:at], piece[at : at + 1], piece[at + 1 :]]
            return [each for each in cut if each]
    half = len(piece) // 2
    return [piece[:half], piece[half:]]
