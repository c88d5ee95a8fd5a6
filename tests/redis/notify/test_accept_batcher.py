"""Requests that are sent to a real Valkey together, each answered for itself."""

import asyncio
from typing import Any

import pytest

from common.jobs.accept_script import ACCEPTED, Decision, Verdict
from common.jobs.acceptance import Acceptance
from server.notify import accept_batcher
from server.notify.accept_batcher import (
    CALL_MAX_JOBS,
    Acceptor,
    OutcomeUnknownError,
    OverloadedError,
    RefusedByRedisError,
    Submitted,
    accepted_jobs,
)
from tests.redis.notify.conftest import Make, SetConfig
from tests.support.processes.process import LOOPBACK, free_port
from tests.support.stores.job_queue import Queue, request
from tests.support.stores.valkey import Valkey

ONE = ("high", 3, b"one")
TWO = ("high", 3, b"two")


async def submitted(acceptor: Acceptor, *requests: Acceptance) -> list[Submitted]:
    """Submit requests in one turn of the loop, and return their outcomes in this order."""
    loop = asyncio.get_running_loop()
    outcomes: list[asyncio.Future[Submitted]] = [loop.create_future() for _ in requests]
    for one, outcome in zip(requests, outcomes, strict=True):
        acceptor.submit(one, outcome.set_result)
    return await asyncio.gather(*outcomes)


async def calls(redis: Any) -> int:
    """How many script calls Redis has run since its statistics were reset."""
    found = await redis.info("commandstats")
    return int(found.get("cmdstat_evalsha", {"calls": 0})["calls"])


async def test_requests_of_one_turn_are_one_call_and_queued_in_their_order(
    queue: Queue, make: Make
) -> None:
    acceptor = make()
    await submitted(acceptor, request(ONE))
    await queue.redis.config_resetstat()
    assert await submitted(acceptor, request(ONE), request(TWO), request(ONE)) == [ACCEPTED] * 3
    assert await calls(queue.redis) == 1
    assert await queue.waiting(3) == [b"one", b"one", b"two", b"one"]


async def test_each_request_is_accepted_or_refused_for_itself(queue: Queue, make: Make) -> None:
    outcomes = await submitted(
        make(lane_max_jobs=2),
        request(ONE, key="k", answer="id"),
        request(ONE, key="k"),
        request(TWO, key="k", fingerprint="other"),
        request(TWO, TWO),
        request(TWO),
    )
    assert outcomes == [
        ACCEPTED,
        Decision(Verdict.REPLAY, "id"),
        Decision(Verdict.CONFLICT),
        Decision(Verdict.FULL, "high"),
        ACCEPTED,
    ]
    assert await queue.waiting(3) == [b"one", b"two"]


async def test_only_jobs_that_are_queued_are_counted(make: Make) -> None:
    before = accepted_jobs._value.get()
    await submitted(make(lane_max_jobs=2), request(ONE, TWO, key="k"), request(ONE), request(TWO))
    assert accepted_jobs._value.get() - before == 2


async def test_what_redis_has_no_room_for_is_refused(queue: Queue, make: Make) -> None:
    heavy = request(ONE)._replace(weights=[1_000_000])
    assert await submitted(make(room=10), heavy) == [Decision(Verdict.NO_ROOM)]
    assert await queue.waiting(3) == []


async def test_more_jobs_than_a_call_takes_are_sent_in_several(queue: Queue, make: Make) -> None:
    acceptor = make()
    await submitted(acceptor, request(ONE))
    await queue.redis.config_resetstat()
    many = request(*[ONE] * CALL_MAX_JOBS)
    assert await submitted(acceptor, many, many, request(TWO)) == [ACCEPTED] * 3
    assert await calls(queue.redis) == 3
    assert await queue.waiting_count() == 2 * CALL_MAX_JOBS + 2


async def test_a_script_that_redis_has_forgotten_is_loaded_again_and_runs_once(
    queue: Queue, make: Make
) -> None:
    acceptor = make()
    await submitted(acceptor, request(ONE))
    await queue.redis.script_flush()
    assert await submitted(acceptor, request(TWO)) == [ACCEPTED]
    assert await queue.waiting(3) == [b"one", b"two"]


async def test_one_more_than_may_wait_is_refused_and_the_others_are_queued(
    queue: Queue, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accept_batcher, "PENDING_MAX", 2)
    acceptor = make()
    both = asyncio.ensure_future(submitted(acceptor, request(ONE), request(ONE)))
    await asyncio.sleep(0)
    # Both wait, and their call is made after this turn.
    with pytest.raises(OverloadedError):
        acceptor.submit(request(TWO), lambda _: None)
    assert await both == [ACCEPTED] * 2
    assert await queue.waiting(3) == [b"one", b"one"]


async def test_what_redis_refuses_is_refused_and_nothing_is_queued(
    queue: Queue, make: Make, config: SetConfig
) -> None:
    await config("min-replicas-to-write", "1")
    (outcome,) = await submitted(make(), request(ONE))
    assert isinstance(outcome, RefusedByRedisError)
    assert await queue.waiting(3) == []


async def test_a_redis_that_is_away_leaves_the_outcome_unknown(make: Make) -> None:
    nowhere = make(redis_client=f"redis://{LOOPBACK}:{free_port()}/0")
    (outcome,) = await submitted(nowhere, request(ONE))
    assert isinstance(outcome, OutcomeUnknownError)


async def test_after_a_lost_connection_the_next_request_has_a_new_one(
    queue: Queue, make: Make
) -> None:
    acceptor = make()
    await submitted(acceptor, request(ONE))
    await queue.redis.client_kill_filter(_type="normal", skipme=True)
    await asyncio.sleep(0.05)
    assert await submitted(acceptor, request(TWO)) == [ACCEPTED]
    assert await queue.waiting(3) == [b"one", b"two"]


async def test_a_lost_reply_leaves_the_outcome_unknown_and_nothing_is_sent_twice(
    queue: Queue, make: Make, server: Valkey
) -> None:
    acceptor = make()
    await submitted(acceptor, request(ONE))
    server.freeze()
    try:
        waiting = asyncio.ensure_future(submitted(acceptor, request(TWO)))
        await asyncio.sleep(0.05)
        assert acceptor._link is not None
        acceptor._link.close()
        (outcome,) = await waiting
    finally:
        server.thaw()
    assert isinstance(outcome, OutcomeUnknownError)
    assert await submitted(acceptor, request(ONE)) == [ACCEPTED]
    assert (await queue.waiting(3)).count(b"two") <= 1


async def test_with_accept_fsync_an_accepted_job_is_on_disk(
    queue: Queue, make: Make, config: SetConfig
) -> None:
    await config("appendonly", "yes")
    await queue.redis.script_flush()
    await queue.redis.config_resetstat()
    assert await submitted(make(accept_fsync=True), request(ONE), request(TWO)) == [ACCEPTED] * 2
    assert "cmdstat_waitaof" in await queue.redis.info("commandstats")
    assert await queue.waiting(3) == [b"one", b"two"]


async def test_what_is_not_on_disk_in_time_may_be_queued_or_not(
    queue: Queue, make: Make, config: SetConfig
) -> None:
    await config("appendonly", "yes")
    await config("appendfsync", "no")
    (outcome,) = await submitted(make(accept_fsync=True, accept_timeout_s=0.5), request(ONE))
    assert isinstance(outcome, OutcomeUnknownError)
    assert "was not on disk in time" in str(outcome)


async def test_without_an_append_only_file_its_outcome_is_unknown(
    queue: Queue, make: Make, config: SetConfig
) -> None:
    await config("appendonly", "no")
    (outcome,) = await submitted(make(accept_fsync=True), request(ONE))
    assert isinstance(outcome, OutcomeUnknownError)
    assert await queue.waiting(3) == [b"one"]


async def test_an_answer_that_fails_does_not_keep_others_from_theirs(
    queue: Queue, make: Make
) -> None:
    acceptor = make()

    def fail(_: Submitted) -> None:
        raise RuntimeError

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)
    acceptor.submit(request(ONE), fail)
    await acceptor.close()
    assert await queue.waiting(3) == [b"one"]
    assert await submitted(acceptor, request(TWO)) == [ACCEPTED]


async def test_closing_waits_until_all_have_their_outcome(queue: Queue, make: Make) -> None:
    acceptor = make()
    outcomes: list[Submitted] = []
    for _ in range(5):
        acceptor.submit(request(ONE), outcomes.append)
    await acceptor.close()
    assert outcomes == [ACCEPTED] * 5
    assert await queue.waiting_count() == 5
