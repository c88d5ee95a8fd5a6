"""`server/clients/ticket_issuer.py`: tickets that a real Redis keeps, and when it keeps none."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from common.auth.tickets import Grant, ticket_name, unseal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from server.clients import ticket_issuer
from server.clients.ticket_issuer import USER_TICKETS_MAX, TicketIssuer
from tests.redis.gateway.away import away
from tests.support.processes.stack import GLOBAL_KEYS

GRANT = Grant("a token", "k1")


def issuer_of(redis: Redis, *, nearly_full: bool = False, **settings: Any) -> TicketIssuer:
    made = Settings(_env_file=None, **settings)
    return TicketIssuer(redis, GLOBAL_KEYS, made, lambda: nearly_full)


async def refusal(issuer: TicketIssuer, client: str = "shop", user: str = "ann") -> Problem:
    with pytest.raises(Problem) as refused:
        await issuer.issue(GRANT, client, user)
    assert refused.value.retry_after_s
    return refused.value


async def test_a_ticket_is_kept_sealed_and_for_its_lifetime(redis: Any) -> None:
    ticket = await issuer_of(redis, ticket_ttl_s=20).issue(GRANT, "shop", "ann")
    key = GLOBAL_KEYS.ticket(ticket_name(ticket))
    owner, _, sealed = (await redis.get(key)).partition(b"\n")
    assert owner == b"shop/ann"
    assert unseal(ticket, sealed) == GRANT
    assert GRANT.token.encode() not in sealed
    assert 15_000 < await redis.pttl(key) <= 20_000


async def test_one_user_takes_up_no_tickets_of_others(redis: Redis) -> None:
    issuer = issuer_of(redis)
    await asyncio.gather(*(issuer.issue(GRANT, "shop", "ann") for _ in range(USER_TICKETS_MAX)))
    problem = await refusal(issuer)
    assert (problem.code, problem.status) == (ProblemCode.TOO_MANY_TICKETS, 429)
    assert "this user" in str(problem.detail)
    assert problem.retry_after_s is not None
    assert 1 <= problem.retry_after_s <= issuer.ttl_s
    await issuer.issue(GRANT, "shop", "bob")
    await issuer.issue(GRANT, "bank", "ann")


async def test_one_client_takes_up_no_tickets_of_others(redis: Redis) -> None:
    issuer = issuer_of(redis, client_max_tickets=USER_TICKETS_MAX)
    users = [f"user{n}" for n in range(USER_TICKETS_MAX)]
    await asyncio.gather(*(issuer.issue(GRANT, "shop", user) for user in users))
    problem = await refusal(issuer, user="one more")
    assert problem.code == ProblemCode.TOO_MANY_TICKETS
    assert "this client" in str(problem.detail)
    await issuer.issue(GRANT, "bank", "ann")


async def test_a_redis_without_room_is_left_alone(redis: Any) -> None:
    problem = await refusal(issuer_of(redis, nearly_full=True))
    assert (problem.code, problem.status) == (ProblemCode.REDIS_NEARLY_FULL, 503)
    assert await redis.keys("*ticket*") == []


async def test_a_redis_that_says_it_is_full_is_believed(redis: Redis) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        problem = await refusal(issuer_of(redis))
    finally:
        await redis.config_set("maxmemory", 0)
    assert problem.code == ProblemCode.REDIS_NEARLY_FULL


async def test_without_redis_it_says_to_repeat() -> None:
    nobody = away()
    problem = await refusal(issuer_of(nobody))
    await nobody.aclose()
    assert (problem.code, problem.status) == (ProblemCode.REDIS_AWAY, 503)


async def test_so_many_wait_for_redis_and_one_more_is_refused(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_issuer, "WAITING_MAX", 3)
    issuer = issuer_of(redis)
    outcomes = await asyncio.gather(
        *(issuer.issue(GRANT, "shop", "ann") for _ in range(5)), return_exceptions=True
    )
    refused = [one for one in outcomes if isinstance(one, Problem)]
    assert [one.code for one in refused] == [ProblemCode.OVERLOADED] * 2
    # Whoever was answered waits no longer.
    assert await issuer.issue(GRANT, "shop", "ann")
