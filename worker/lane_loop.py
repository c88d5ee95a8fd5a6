"""One loop of one lane: wait for turns, read their jobs, publish them.

Guarantee: every job of a turn is published exactly once, in the order of acceptance. The loop
removes nothing; the publishing script does, and only while this loop still holds the turn. A loop
that is killed, paused past its lease, or cut off at any point publishes nothing twice.
"""

import asyncio
import logging
import time
from typing import Any, Final

from common.accounting.usage import Outcome, Usage
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.model.channels import Lane
from common.process.backoff import Backoff
from common.redis.keys import ShardKeys
from common.redis.pipelined_connection import Link, Word, evalsha, is_waited_for
from common.redis.scripts import Script
from common.telemetry.outage import redis_outage
from worker import metrics
from worker.leases import Holders
from worker.publish_arguments import Publisher
from worker.publish_batch import BatchBuilder, PublishBatch

log = logging.getLogger("roomcast.worker")

_REPLY_TIMEOUT_S: Final = 5.0
_GATHER_S: Final = 0.002
"""Time that jobs may collect into a batch while several arrive at once.

A round of the two scripts costs as much as dozens of jobs in it.
"""
_FULL_WAIT_S: Final = 0.05
"""Pause after finding no turn while Redis, at its maxmemory, refuses to wait."""
_GATHERED: Final = 32
"""Jobs in a batch from which on there is nothing to be gained by that."""
_TAKE_MIN_BYTES: Final = 4 * 1024
"""Bytes of jobs that a loop reads at once at least, however large they grow."""


class _Publishing:
    """A batch on its way, and Redis's reply: publications, turns that were lost.

    Args:
        batch: what is published.
        reply: Redis's, to come.
        began: when its turns were there (`time.perf_counter`).
        gathers: whether it pays to let more jobs come together before the next batch.
    """

    def __init__(
        self, batch: PublishBatch, reply: "asyncio.Future[Any]", *, began: float, gathers: bool
    ) -> None:
        self.batch = batch
        self.reply = reply
        self.began = self.ended = began
        self.gathers = gathers
        reply.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self.ended = time.perf_counter()


class LaneLoop:
    """One of a worker's loops; has a connection of its own."""

    def __init__(
        self,
        lane: Lane,
        number: int,
        holders: Holders,
        keys: ShardKeys,
        settings: Settings,
        usage: Usage,
    ) -> None:
        self._usage = usage
        self._lane = lane
        self._number = number
        self._name = f"worker-{holders.worker}-{lane}.{number}"
        self._holders = holders
        self._keys = keys
        self._settings = settings
        # Under a third of the lease: a pending BLMOVE is over before the holder is forgotten.
        self._wait_s = settings.lease_s / 4
        self._take = Script("take")
        self._publish = Script("publish")
        self._jobs_prefix = f"{keys.jobs_prefix}{lane}:"
        self._publisher = Publisher(keys, settings, holders.worker)
        self._publications = metrics.publications.labels(lane)
        self._take_bytes = settings.publish_max_bytes
        self._stopping = False
        self._backoff = Backoff()

    def stop(self) -> None:
        """End after the batch in hand."""
        self._stopping = True

    async def run(self) -> None:
        """Serve turns until `stop`; a lost connection begins a new life.

        Raises:
            Exception: a defect; never a Redis that is away.
        """
        while not self._stopping:
            link = holder = None
            wait_s = 0.0
            try:
                link = await Link.connect(self._settings.redis_url, self._name)
                holder = await self._holders.begin_life(self._lane, self._number)
                await self._live(link, holder)
            except REDIS_ERRORS as error:
                metrics.reconnects.labels(f"{self._lane}.{self._number}").inc()
                reason = f"{type(error).__name__}: {error}"
                wait_s = self._backoff.failed(reason)
                redis_outage.lost(self._name, error)
            finally:
                if link:
                    link.close()
                if holder:
                    self._holders.end_life(holder)
            if not self._stopping:
                await asyncio.sleep(wait_s)

    def _served(self) -> None:
        self._backoff.served()
        redis_outage.back(self._name)

    async def _live(self, link: Link, holder: str) -> None:
        await self._publisher.begin(link, _REPLY_TIMEOUT_S)
        await link.call("SCRIPT", "LOAD", self._publish.text, timeout_s=_REPLY_TIMEOUT_S)
        await link.call("SCRIPT", "LOAD", self._take.text, timeout_s=_REPLY_TIMEOUT_S)
        next_turns = self._take_turns(holder)
        timeout_s = self._wait_s + _REPLY_TIMEOUT_S
        turn, taken = link.send_together(next_turns, timeout_s)
        sent: _Publishing | None = None
        try:
            while True:
                may_wait = await is_waited_for(turn)
                turns = await taken
                if not turns:
                    self._served()
                before, sent = sent, None
                # What was taken goes back when the life ends.
                if turns and not self._stopping:
                    began = time.perf_counter()
                    batch = self._build(turns)
                    self._take_no_more_than_is_done(batch, next_turns[1])
                    publishing = self._publishing(holder, batch)
                    # As a rule the next turns are asked for behind the script: no round trip
                    # between batches.
                    gathers = 1 < batch.jobs < _GATHERED
                    commands = [publishing] if gathers else [publishing, *next_turns]
                    reply, *asked = link.send_together(commands, timeout_s)
                    sent = _Publishing(batch, reply, began=began, gathers=gathers)
                    if asked:
                        turn, taken = asked
                # While Redis is busy with the next batch, and not while gateways that may be on
                # this core have what was published before them.
                if before:
                    self._count(before)
                if self._stopping:
                    return
                if sent and sent.gathers:
                    await sent.reply
                    await asyncio.sleep(_GATHER_S)
                if not may_wait and not turns:
                    await asyncio.sleep(_FULL_WAIT_S)
                if sent is None or sent.gathers:
                    turn, taken = link.send_together(next_turns, timeout_s)
        finally:
            if sent and sent.reply.done() and not sent.reply.exception():
                self._count(sent)

    def _take_turns(self, holder: str) -> list[list[Word]]:
        """Commands: wait for a turn, then read the jobs of all turns held.

        Sent together, the script runs as soon as the turn has come. What is published is read
        from the held list, so a lost reply loses nothing.
        """
        settings = self._settings
        ready, held = self._keys.ready(self._lane), self._keys.held(holder)
        take = evalsha(
            self._take,
            [ready, held, self._keys.workers],
            [
                holder,
                self._holders.lease_ms,
                settings.take_max_turns,
                self._jobs_prefix,
                settings.publish_max_jobs,
                self._take_bytes,
            ],
        )
        return [["BLMOVE", ready, held, "RIGHT", "LEFT", self._wait_s], take]

    def _build(self, turns: list[Any]) -> PublishBatch:
        settings = self._settings
        builder = BatchBuilder(
            settings.publish_max_jobs, settings.publish_max_bytes, settings.take_max_turns
        )
        now_ms = time.time_ns() // 1_000_000
        for partition, jobs in zip(turns[::2], turns[1::2], strict=True):
            builder.add_turn(partition, jobs, now_ms)
        return builder.batch

    def _take_no_more_than_is_done(self, batch: PublishBatch, take: list[Word]) -> None:
        """Set how many bytes of jobs the next take reads.

        Jobs for many targets grow when they are published. Most of what is read of them would be
        left, to be read again, and the turns would go behind all others with nothing done.
        """
        if batch.left:
            self._take_bytes = max(_TAKE_MIN_BYTES, min(self._take_bytes, 2 * batch.read_bytes))
        else:
            self._take_bytes *= 2
        self._take_bytes = take[-1] = min(self._take_bytes, self._settings.publish_max_bytes)

    def _publishing(self, holder: str, batch: PublishBatch) -> list[Word]:
        """Command: give up the turns and publish what they hold."""
        keys, settings = self._keys, self._settings
        return evalsha(
            self._publish,
            [
                keys.epoch,
                keys.held(holder),
                keys.ready(self._lane),
                keys.active(self._lane),
                keys.waiting,
                keys.returns,
                keys.events,
                keys.dead,
                keys.contents,
                keys.backlog,
            ],
            [
                str(self._lane),
                self._jobs_prefix,
                settings.dead_max_entries,
                *self._publisher.arguments(),
                keys.content_prefix,
                *batch.content_args(),
                *batch.args,
            ],
        )

    def _use(self, batch: PublishBatch, lost: int) -> None:
        if lost:
            # Whoever took these turns over counts them; which ones they are is not known here.
            return
        self._usage.add_all(batch.published_by, Outcome.PUBLISHED)
        if batch.expired:
            self._usage.add_all(batch.expired_by, Outcome.FAILED)

    def _count(self, sent: _Publishing) -> None:
        batch = sent.batch
        published, lost = sent.reply.result()
        self._served()
        metrics.publish_seconds.observe(sent.ended - sent.began)
        self._publications.inc(published)
        if published:
            ended_at = time.time() - (time.perf_counter() - sent.ended)
            metrics.wait_seconds.observe(max(0.0, ended_at - batch.oldest_ms / 1000))
        self._use(batch, lost)
        if batch.expired:
            metrics.expired.inc(batch.expired)
        if batch.dead:
            metrics.dead_letters.inc(batch.dead)
        if lost:
            metrics.lost_turns.labels(self._lane).inc(lost)
            log.warning(
                "turns were taken over by another worker; nothing of them was published here",
                extra={"turns": lost},
            )
        if log.isEnabledFor(logging.DEBUG):
            for notification in batch.ids:
                log.debug("published", extra={"id": notification, "lane": str(self._lane)})
