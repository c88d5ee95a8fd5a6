"""`POST /notify` without HTTP parsing: a body and two headers in, a reply out."""

import asyncio
import json
from collections.abc import Callable
from typing import Final, NamedTuple, assert_never

from prometheus_client import Counter

from common.auth.principal import Principal
from common.jobs.accept_script import ACCEPTED, Decision, Verdict
from common.jobs.acceptance import Acceptance
from common.jobs.planning import is_batch, plan_batch, plan_one
from common.model.problem_codes import ProblemCode
from common.model.problems import FieldError, Problem
from common.redis.client import says_full
from server.access.client_limits import LimitCounters, Limiter
from server.notify.accept_batcher import (
    Acceptor,
    OutcomeUnknownError,
    OverloadedError,
    RefusedByRedisError,
    Submitted,
)
from server.notify.redis_watch import RedisWatch
from server.web.bodies import BODY_MAX_BYTES, check_type, too_large

IDEMPOTENCY_KEY_MAX: Final = 255
RETRY_AFTER_S: Final = 1

requests_total = Counter("roomcast_notify_requests_total", "POST /notify, by status", ["status"])
_accepted = requests_total.labels("202")


class Reply(NamedTuple):
    """Status, headers and JSON body to answer with; `lines` are more headers, as in a head."""

    status: int
    headers: dict[str, str]
    body: bytes
    lines: str = ""


ACCEPTED_HEADERS: Final = {"Content-Type": "application/json"}
"""Headers of every reply with status 202, besides its `lines`; this very object."""


def _check_key(key: str) -> None:
    if not 1 <= len(key) <= IDEMPOTENCY_KEY_MAX or not key.isprintable():
        raise Problem(
            ProblemCode.INVALID_IDEMPOTENCY_KEY,
            f"Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_MAX} printable characters",
            [FieldError("", "the header Idempotency-Key is invalid")],
        )


def _unavailable(code: ProblemCode, detail: str) -> Problem:
    return Problem(code, detail, retry_after_s=RETRY_AFTER_S)


class Intake:
    """Validates, queues and answers `POST /notify`, whichever HTTP parser read it."""

    def __init__(self, acceptor: Acceptor, watch: RedisWatch, limiter: Limiter) -> None:
        self._acceptor = acceptor
        self._watch = watch
        self._limiter = limiter
        self._keys_in_flight: set[str] = set()

    async def reply(
        self, body: bytes, content_type: str, idempotency_key: str | None, principal: Principal
    ) -> Reply:
        """Answer one request; every refusal is a problem document."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def done(reply: Reply) -> None:
            if not future.done():
                future.set_result(reply)

        self.answer(body, content_type, idempotency_key, principal, done)
        return await future

    def answer(
        self,
        body: bytes,
        content_type: str,
        idempotency_key: str | None,
        principal: Principal,
        done: Callable[[Reply], None],
    ) -> None:
        """Answer one request by calling `done` once, now or when Redis has answered."""
        client = principal.client
        counters = self._limiter.of(principal)
        try:
            key = _scoped_key(idempotency_key, client)
            if content_type != "application/json":
                check_type(content_type)
            if len(body) > BODY_MAX_BYTES:
                raise too_large()
            batch = is_batch(body)
            plan = plan_batch if batch else plan_one
            acceptance = plan(
                body,
                key=key,
                client=client,
                bounds=counters.bounds if counters else None,
                refuse_expired=True,
            )
            if acceptance.refusal is not None and not key:
                raise acceptance.refusal
            if self._watch.unfit:
                raise _unavailable(
                    ProblemCode.REDIS_UNFIT, f"{self._watch.unfit}; nothing was queued"
                )
            if self._watch.nearly_full:
                raise _nearly_full()
            if self._watch.events_full:
                raise _unavailable(
                    ProblemCode.EVENTS_FULL,
                    "a reader of the event stream is too far behind; nothing was queued",
                )
            if client in self._watch.crowding:
                raise _unavailable(
                    ProblemCode.CLIENT_EVENTS_FULL,
                    "too many events of this client are still to be read from the event stream; "
                    "nothing was queued",
                )
            if key in self._keys_in_flight:
                raise _in_flight()
        except Problem as problem:
            done(refused(problem))
            return
        if key:
            self._keys_in_flight.add(key)
        count = acceptance.answer.count(",") + 1 if batch else 1
        size = acceptance.fan_out_bytes
        if counters is None or counters.may_notify(count, size):
            self._submit(acceptance, counters, count, done, batch=batch)
            return

        def counted(problem: Problem | None) -> None:
            if problem is None:
                self._submit(acceptance, counters, count, done, batch=batch)
            else:
                self._keys_in_flight.discard(key)
                done(refused(problem))

        counters.notify(count, size, counted)

    def _submit(
        self,
        acceptance: Acceptance,
        counters: LimitCounters | None,
        count: int,
        done: Callable[[Reply], None],
        *,
        batch: bool,
    ) -> None:
        window = counters.notifications.window if counters else 0

        def outcome_came(outcome: Submitted | OverloadedError) -> None:
            self._keys_in_flight.discard(acceptance.key)
            lines = ""
            if counters is not None:
                if outcome is ACCEPTED:
                    counters.accepted += count
                elif not isinstance(outcome, OutcomeUnknownError):
                    counters.notifications.give_back(count, window)
                lines = counters.header_lines()
            done(_reply(acceptance, outcome, lines, batch=batch))

        if counters is not None:
            acceptance = acceptance._replace(lane_max=counters.lane_max)
        try:
            self._acceptor.submit(acceptance, outcome_came)
        except OverloadedError:
            outcome_came(OverloadedError())


def _scoped_key(idempotency_key: str | None, client: str) -> str:
    if idempotency_key is None:
        return ""
    _check_key(idempotency_key)
    return f"{client}/key:{idempotency_key}"


def refused(problem: Problem) -> Reply:
    """Make and count the reply to a refused request."""
    requests_total.labels(str(int(problem.status))).inc()
    return Reply(problem.status, problem.response_headers(), problem.body())


def _nearly_full() -> Problem:
    return _unavailable(ProblemCode.REDIS_NEARLY_FULL, "Redis is nearly full; nothing was queued")


def _in_flight() -> Problem:
    return Problem(
        ProblemCode.IDEMPOTENCY_KEY_IN_FLIGHT,
        "a request with this Idempotency-Key is under way",
        retry_after_s=RETRY_AFTER_S,
    )


def _reply(
    acceptance: Acceptance, outcome: Submitted | OverloadedError, lines: str, *, batch: bool
) -> Reply:
    if outcome is ACCEPTED:
        ids = acceptance.answer
    elif isinstance(outcome, Decision) and outcome.verdict is Verdict.REPLAY:
        ids = outcome.detail
    elif isinstance(outcome, Decision):
        return refused(_refusal(acceptance, outcome))
    else:
        return refused(_failure(outcome))
    _accepted.inc()
    if batch:
        answers = [{"id": an_id, "status": "queued"} for an_id in ids.split(",")]
        return Reply(202, ACCEPTED_HEADERS, json.dumps(answers).encode(), lines)
    return Reply(202, ACCEPTED_HEADERS, b'{"id":"%b","status":"queued"}' % ids.encode(), lines)


def _refusal(acceptance: Acceptance, decision: Decision) -> Problem:
    match decision.verdict:
        case Verdict.LATE:
            assert acceptance.refusal is not None
            return acceptance.refusal
        case Verdict.FULL:
            return _unavailable(
                ProblemCode.LANE_FULL, f"lane {decision.detail} is full; nothing was queued"
            )
        case Verdict.CLIENT_FULL:
            return _unavailable(
                ProblemCode.CLIENT_LANE_FULL,
                f"too many notifications of this client wait in lane {decision.detail}; "
                "nothing was queued",
            )
        case Verdict.NO_ROOM:
            return _nearly_full()
        case Verdict.CONFLICT:
            return Problem(
                ProblemCode.IDEMPOTENCY_KEY_REUSED,
                "this Idempotency-Key was used with another body",
            )
        case (
            Verdict.OK
            | Verdict.REPLAY
            | Verdict.PUBLISHED
            | Verdict.DEAD
            | Verdict.FAILED
            | Verdict.GONE
        ):
            # No refusals, or of other scripts.
            return _outcome_unknown()
    assert_never(decision.verdict)


def _failure(error: OverloadedError | RefusedByRedisError | OutcomeUnknownError) -> Problem:
    match error:
        case OverloadedError():
            return _unavailable(
                ProblemCode.OVERLOADED, "too many requests wait; nothing was queued"
            )
        case RefusedByRedisError() if says_full(error.__cause__):
            return _nearly_full()
        case RefusedByRedisError():
            return _unavailable(ProblemCode.REDIS_REFUSED, f"Redis refused: {error}")
        case OutcomeUnknownError():
            return _outcome_unknown()
    assert_never(error)


def _outcome_unknown() -> Problem:
    return _unavailable(
        ProblemCode.OUTCOME_UNKNOWN,
        "Redis did not answer; whether it was queued is unknown. "
        "Repeating with the same Idempotency-Key is safe",
    )
