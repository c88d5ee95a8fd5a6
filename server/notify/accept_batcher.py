"""Batcher of requests for Redis: many requests in one script call, each as a whole.

Guarantee: a verdict `ok` or `replay` is given only after Redis executed the script (with
`accept_fsync`, after it was on disk). A lost reply is `OutcomeUnknownError`: the jobs may be queued
or not, and retrying the request with the same Idempotency-Key is safe. This module itself never
sends anything twice.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

from prometheus_client import Counter, Histogram
from redis.exceptions import NoScriptError, RedisError, ResponseError

from common.config.settings import Settings
from common.errors import RoomcastError
from common.jobs.accept_script import (
    ACCEPTED,
    AcceptScript,
    Decision,
    UnknownVerdictError,
    read_decision,
)
from common.jobs.acceptance import Acceptance
from common.redis.keys import ShardKeys
from common.redis.pipelined_connection import Link, Word, evalsha
from common.telemetry.metrics import latency_histogram
from server.notify.batch_window import GATHERED, Gathering

log = logging.getLogger("roomcast.server")

PENDING_MAX: Final = 10_000
"""Most requests that may wait for Redis in this process; one more is refused (`overloaded`)."""

CALL_MAX_JOBS: Final = 1_000
CALL_MAX_BYTES: Final = 2 * 1024 * 1024
CALLS_IN_FLIGHT: Final = 2

accepted_jobs = Counter("roomcast_accepted_jobs_total", "Jobs that Redis has")
accept_seconds: Histogram = latency_histogram(
    "roomcast_accept_seconds", "From the start of an acceptance call to its reply"
)


class OutcomeUnknownError(RoomcastError):
    """Redis did not answer: it is unknown whether it has the jobs."""


class OverloadedError(RoomcastError):
    """Too many requests already wait for Redis in this process; nothing was queued."""


class RefusedByRedisError(RoomcastError):
    """Redis refused the script (out of memory, read-only replica); nothing was queued."""


Submitted = Decision | OutcomeUnknownError | RefusedByRedisError
"""Outcome of a request; see `Acceptor.submit`."""

Item = tuple[Acceptance, Callable[[Submitted], None]]


class _Call(NamedTuple):
    """One script call: its requests, its arguments, when it began (`time.perf_counter`)."""

    batch: list[Item]
    args: list[Word]
    began: float


def _failure_of(error: BaseException, call: _Call) -> OutcomeUnknownError | RefusedByRedisError:
    if isinstance(error, ResponseError):
        refusal = RefusedByRedisError(str(error))
        refusal.__cause__ = error
        return refusal
    awaited = isinstance(error, RedisError | OSError | TimeoutError)
    log.log(
        logging.WARNING if awaited else logging.ERROR,
        "redis did not answer an acceptance",
        extra={"requests": len(call.batch), "reason": f"{type(error).__name__}: {error}"},
        exc_info=None if awaited else error,
    )
    return OutcomeUnknownError(str(error))


def _outcome_of(verdict: list[bytes]) -> Decision | OutcomeUnknownError:
    try:
        return read_decision(verdict)
    except UnknownVerdictError as error:
        log.exception("redis answered an acceptance with something unknown")
        return OutcomeUnknownError(str(error))


class Acceptor:
    """Collects the requests of a loop turn and sends them as one script call.

    Args:
        keys: of the shard.
        settings: bounds.
        room: bytes that all waiting jobs may grow to when they are published; empty: any number.
    """

    def __init__(
        self, keys: ShardKeys, settings: Settings, room: Callable[[], int | str] = lambda: ""
    ) -> None:
        self._url = settings.redis_url
        self._timeout_s = settings.accept_timeout_s
        self._link: Link | None = None
        self._connecting = asyncio.Lock()
        self._fsync_ms = int(settings.accept_timeout_s * 1000) if settings.accept_fsync else 0
        self._accept = AcceptScript("accept", keys, settings)
        self._script = self._accept.script
        self._keys = self._accept.keys
        self._room = room
        self._pending: deque[Item] = deque()
        self._calls: set[asyncio.Future[Any]] = set()
        self._scheduled = False
        self._gathering = Gathering(asyncio.get_running_loop(), self._flush)

    def submit(self, acceptance: Acceptance, on_outcome: Callable[[Submitted], None]) -> None:
        """Queue a request for the next call.

        Args:
            acceptance: the request.
            on_outcome: called once, with the decision, an `OutcomeUnknownError` or a
                `RefusedByRedisError`.

        Raises:
            OverloadedError: too many wait.
        """
        if len(self._pending) >= PENDING_MAX:
            raise OverloadedError
        self._pending.append((acceptance, on_outcome))
        self._gathering.came(len(self._pending))
        if not self._scheduled and self._may_call():
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    async def close(self) -> None:
        """Wait for the running calls."""
        while self._pending or self._calls:
            self._gathering.stop()
            self._flush()
            await asyncio.gather(*self._calls, return_exceptions=True)
        if self._link:
            self._link.close()

    def _flush(self) -> None:
        self._scheduled = False
        while self._pending and self._may_call():
            batch: list[Item] = []
            jobs = size = 0
            while self._pending and jobs < CALL_MAX_JOBS and size < CALL_MAX_BYTES:
                item = self._pending.popleft()
                batch.append(item)
                # A request that came too late has no jobs, but is work for Redis all the same.
                jobs += len(item[0].jobs) or 1
                size += item[0].size
            self._send(batch)

    def _may_call(self) -> bool:
        under_way = len(self._calls)
        if not under_way:
            return not self._gathering.is_on
        return under_way < CALLS_IN_FLIGHT and len(self._pending) >= GATHERED

    def _send(self, batch: list[Item]) -> None:
        args: list[Word] = [*self._accept.head(self._room())]
        for acceptance, _ in batch:
            args += acceptance.arguments()
        call = _Call(batch, args, time.perf_counter())
        link = self._link
        if link is None or link.lost.done() or self._fsync_ms:
            self._run_in_task(call)
            return
        words = evalsha(self._script, self._keys, args)
        self._answer_when_done(call, link.send(words, self._timeout_s))

    def _run_in_task(self, call: _Call) -> None:
        self._answer_when_done(call, asyncio.ensure_future(self._run(call.args)))

    def _answer_when_done(self, call: _Call, reply: "asyncio.Future[Any]") -> None:
        self._calls.add(reply)
        reply.add_done_callback(partial(self._answer, call))

    def _answer(self, call: _Call, reply: "asyncio.Future[Any]") -> None:
        self._calls.discard(reply)
        error = reply.exception()
        if isinstance(error, NoScriptError):
            self._run_in_task(call)
            return
        accept_seconds.observe(time.perf_counter() - call.began)
        outcomes: list[Submitted]
        if error is None:
            outcomes = [_outcome_of(verdict) for verdict in reply.result()]
        else:
            outcomes = [_failure_of(error, call)] * len(call.batch)
        jobs = 0
        try:
            for (acceptance, on_outcome), outcome in zip(call.batch, outcomes, strict=True):
                if outcome is ACCEPTED:
                    jobs += len(acceptance.jobs)
                on_outcome(outcome)
        finally:
            # Even if these fail, others wait for the call to be over.
            accepted_jobs.inc(jobs)
            self._gathering.answered(len(call.batch))
            if not self._calls:
                self._gathering.begin(len(self._pending))
            self._flush()

    async def _run(self, args: list[Word]) -> Any:
        link = await self._connected()
        if not self._fsync_ms:
            return await link.run(self._script, self._keys, args, timeout_s=self._timeout_s)
        words = evalsha(self._script, self._keys, args)
        # On the same connection, right after the script: elsewhere WAITAOF would not wait for it.
        accepted, synced = link.send_together(
            [words, ("WAITAOF", 1, 0, self._fsync_ms)], 2 * self._timeout_s
        )
        try:
            verdicts = await accepted
        except NoScriptError:
            await link.call("SCRIPT", "LOAD", self._script.text, timeout_s=self._timeout_s)
            return await self._run(args)
        try:
            on_disk = (await synced)[0]
        except ResponseError as error:
            # The jobs are queued by now, so this is not a refusal.
            raise TimeoutError(f"WAITAOF: {error}") from None
        if on_disk < 1:
            raise TimeoutError("the append-only file was not on disk in time")
        return verdicts

    async def _connected(self) -> Link:
        async with self._connecting:
            if self._link is None or self._link.lost.done():
                self._link = await Link.connect(self._url, "server-acceptor")
            return self._link
