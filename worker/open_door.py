"""The open door of a lane: jobs that somebody LPUSHed by hand.

Nothing is taken out before it is accepted: the loop looks at the tail, validates, and one script
pops exactly the texts that were validated while it publishes them, or queues them where others wait
ahead. Several workers may look at the same texts; each text is popped once.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.jobs.accept_script import AcceptScript, Decision, Verdict, read_decisions
from common.jobs.acceptance import Acceptance
from common.jobs.planning import plan_one
from common.model.channels import DEFAULT_CLIENT, Lane
from common.model.json_bodies import malformed, refuse_fields, repeated_names
from common.model.problems import FieldError, Problem
from common.process.backoff import Backoff
from common.redis.keys import ShardKeys
from common.redis.pipelined_connection import Link, Word, evalsha, is_waited_for
from common.telemetry.outage import redis_outage
from worker import metrics
from worker.event_trimmer import EventTrimmer
from worker.publish_arguments import Publisher
from worker.publish_batch import entry_at_once

log = logging.getLogger("roomcast.worker")

LOOK_MAX: Final = 128
_WAIT_S: Final = 1.0
_REPLY_TIMEOUT_S: Final = 5.0
_FULL_LANE_WAIT_S: Final = 0.1
_REST: Final = 3.0
"""Pause after a round with more than one text, as a multiple of the round's duration.

A round costs as much as a handful of texts in it, and costs a gateway a write to each of its
connections, whose next texts come when they have heard these: what waits together goes on together.
"""
_REST_MAX_S: Final = 0.016
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL: Final = msgspec.Raw(b"null")
_NO_ENTRY: Final = ("", "", "", "")


def read_by_hand(text: bytes, lane: Lane) -> Acceptance:
    """Plan the jobs of a text that was pushed by hand.

    It is a body of `POST /notify`; `id`, if it has one, is the notification's id, and a second
    text with the same id is dropped. Its lane is the one it was pushed to unless it says otherwise.
    One that has expired is a job, of which is noted that it expired.

    Raises:
        Problem: it is invalid; `detail` says why.
    """
    body, an_id = text, None
    try:
        fields = _decode_fields(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # `plan_one` says what is wrong with it.
        fields = {}
    # What says nothing is as good as left out.
    for name in ("id", "priority"):
        if fields.get(name) == _NULL:
            del fields[name]
            body = b""
    if "id" in fields:
        try:
            an_id = msgspec.json.decode(fields.pop("id"), type=str)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            an_id = ""
        if not 1 <= len(an_id) <= 128 or not an_id.isprintable() or "," in an_id:
            raise refuse_fields([FieldError("/id", "must be 1 to 128 printable characters")])
        body = b""
    if fields and "priority" not in fields and lane is not Lane.HIGH:
        fields["priority"] = msgspec.Raw(msgspec.json.encode(str(lane)))
        body = b""
    if fields and not body:
        _check_repeated(text)
        body = msgspec.json.encode(fields)
    return plan_one(
        body, key=f"{DEFAULT_CLIENT}/id:{an_id}" if an_id else "", notification_id=an_id
    )


def _check_repeated(text: bytes) -> None:
    try:
        repeated = repeated_names(text, within=False)
    except ValueError:
        raise malformed() from None
    if repeated:
        raise refuse_fields(repeated)


class DoorLoop:
    """Serves the open door of one lane; has a connection of its own."""

    def __init__(
        self, lane: Lane, worker: str, trimmer: EventTrimmer, keys: ShardKeys, settings: Settings
    ) -> None:
        self._lane = lane
        self._trimmer = trimmer
        self._settings = settings
        self._publisher = Publisher(keys, settings, worker)
        self._door = keys.door(lane)
        admit = AcceptScript("admit", keys, settings)
        self._admit = admit.script
        self._keys = [*admit.keys, self._door, keys.dead, keys.epoch, keys.events]
        self._head: list[Word] = [*admit.head(), str(lane), settings.dead_max_entries]
        self._stopping = False

    def stop(self) -> None:
        """End after the texts in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Serve until `stop`; a Redis that is away is waited for."""
        backoff = Backoff()
        name = f"door-{self._lane}"
        while not self._stopping:
            link = None
            wait_s = 0.0
            try:
                link = await Link.connect(self._settings.redis_url, name)
                await self._serve(link, name, backoff)
            except REDIS_ERRORS as error:
                wait_s = backoff.failed(str(error))
                redis_outage.lost(name, error)
            finally:
                if link:
                    link.close()
            if not self._stopping:
                await asyncio.sleep(wait_s)

    async def _serve(self, link: Link, name: str, backoff: Backoff) -> None:
        def served() -> None:
            backoff.served()
            redis_outage.back(name)

        # Moving the tail onto itself waits for a first text and changes nothing.
        look: list[Sequence[Word]] = [
            ("BLMOVE", self._door, self._door, "RIGHT", "RIGHT", _WAIT_S),
            ("LRANGE", self._door, -LOOK_MAX, -1),
        ]
        timeout_s = _WAIT_S + _REPLY_TIMEOUT_S
        await self._publisher.begin(link, timeout_s)
        await link.call("SCRIPT", "LOAD", self._admit.text, timeout_s=timeout_s)
        while True:
            first, looked = link.send_together(look, timeout_s)
            may_wait = await is_waited_for(first)
            texts: list[bytes] = await looked
            if self._stopping:
                return
            if not texts:
                served()
                if not may_wait:
                    await asyncio.sleep(_WAIT_S)
                continue
            if self._trimmer.full or (not may_wait and await self._anything_waits(link)):
                served()
                await asyncio.sleep(_FULL_LANE_WAIT_S)
                continue
            texts.reverse()
            began = time.monotonic()
            args, lanes = self._arguments(texts)
            replies = await link.send(evalsha(self._admit, self._keys, args), timeout_s)
            served()
            decisions = read_decisions(replies)
            self._count(decisions, texts, lanes)
            if decisions and decisions[-1].verdict in (Verdict.FULL, Verdict.FAILED):
                await asyncio.sleep(_FULL_LANE_WAIT_S)
            elif 1 < len(texts) < LOOK_MAX:
                await asyncio.sleep(min(_REST * (time.monotonic() - began), _REST_MAX_S))

    async def _anything_waits(self, link: Link) -> bool:
        """Return whether jobs are waiting: they also grow, so in a full Redis they go first."""
        waiting = await link.call("HVALS", self._keys[0], timeout_s=_REPLY_TIMEOUT_S)
        return any(int(count) > 0 for count in waiting)

    def _arguments(self, texts: list[bytes]) -> tuple[list[Word], list[str]]:
        """Return the arguments of the script, and the lane of each text's jobs."""
        args = [*self._head, *self._publisher.arguments(), len(texts)]
        lanes, size = [], 0
        for text in texts:
            lane: str = self._lane
            try:
                acceptance = read_by_hand(text, self._lane)
            except Problem as problem:
                args += (text, problem.detail)
            else:
                lane, _, job = acceptance.jobs[0]
                size += len(job)
                # One script publishes no more than a batch of a lane's loop does.
                small = len(acceptance.jobs) == 1 and size <= self._settings.publish_max_bytes
                entry = entry_at_once(job) if small else None
                args += (text, "", *(entry or _NO_ENTRY), *acceptance.arguments())
            lanes.append(lane)
        return args, lanes

    def _count(self, decisions: list[Decision], texts: list[bytes], lanes: list[str]) -> None:
        admitted, published = 0, Counter[str]()
        for (verdict, detail), text, lane in zip(decisions, texts, lanes, strict=False):
            if verdict is Verdict.OK:
                admitted += 1
            elif verdict is Verdict.PUBLISHED:
                admitted += 1
                published[lane] += 1
            elif verdict is Verdict.FAILED:
                log.error(
                    "a text pushed by hand could not be queued; it will be tried again",
                    extra={"lane": str(self._lane), "reason": detail},
                )
            elif verdict is Verdict.DEAD:
                metrics.dead_letters.inc()
                log.warning(
                    "a text pushed by hand is not a notification; it is in the dead letters",
                    extra={"lane": str(self._lane), "text": text[:200].decode(errors="replace")},
                )
            elif verdict in (Verdict.REPLAY, Verdict.CONFLICT):
                metrics.duplicates.inc()
        metrics.admitted.labels(self._lane).inc(admitted)
        for lane, count in published.items():
            metrics.publications.labels(lane).inc(count)
