"""A ticket is taken out of Redis by one connection only."""

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from common.auth.tickets import Grant, new_ticket, seal, ticket_name
from common.model.problem_codes import ProblemCode
from tests.redis.gateway.away import away, running
from tests.support.stores.job_queue import GLOBAL_KEYS
from tests.support.waiting import WAIT_TIMEOUT_S
from ws_gateway.admission import ticket_desk
from ws_gateway.admission.ticket_desk import ROUND_MAX, TicketDesk
from ws_gateway.protocol.messages import MessageError


async def issued(redis: Any, count: int = 1) -> list[str]:
    tickets = [new_ticket() for _ in range(count)]
    for ticket in tickets:
        sealed = seal(ticket, Grant(f"token of {ticket}", "k1"))
        await redis.set(GLOBAL_KEYS.ticket(ticket_name(ticket)), b"shop/ann\n" + sealed)
    return tickets


async def redeemed(desk: TicketDesk, *tickets: str) -> list[Any]:
    """What each stands for, or the code of the refusal."""
    loop = asyncio.get_running_loop()
    found: list[asyncio.Future[Any]] = [loop.create_future() for _ in tickets]
    for ticket, future in zip(tickets, found, strict=True):
        desk.redeem(ticket, future.set_result)
    async with asyncio.timeout(WAIT_TIMEOUT_S):
        results = await asyncio.gather(*found)
    return [one.code if isinstance(one, MessageError) else one for one in results]


async def test_a_ticket_stands_for_its_grant_once_also_in_the_same_turn(redis: Redis) -> None:
    desk, (ticket,) = TicketDesk(redis, GLOBAL_KEYS), await issued(redis)
    grant = Grant(f"token of {ticket}", "k1")
    async with running(desk.run()):
        both = await redeemed(desk, ticket, ticket)
        assert both == [grant, ProblemCode.TICKET_NOT_ACCEPTED]
        assert await redeemed(desk, ticket) == [ProblemCode.TICKET_NOT_ACCEPTED]


async def test_of_two_gateways_one_gets_it(redis: Redis) -> None:
    one, other = TicketDesk(redis, GLOBAL_KEYS), TicketDesk(redis, GLOBAL_KEYS)
    (ticket,) = await issued(redis)
    async with running(one.run(), other.run()):
        found = [*await redeemed(one, ticket), *await redeemed(other, ticket)]
    assert sum(isinstance(result, Grant) for result in found) == 1


async def test_more_than_a_round_are_all_answered(redis: Redis) -> None:
    desk, tickets = TicketDesk(redis, GLOBAL_KEYS), await issued(redis, ROUND_MAX + 1)
    async with running(desk.run()):
        found = await redeemed(desk, *tickets)
    assert [grant.token for grant in found] == [f"token of {ticket}" for ticket in tickets]


async def test_a_ticket_of_nobody_and_one_that_was_tampered_with_are_refused(redis: Redis) -> None:
    desk, (ticket,) = TicketDesk(redis, GLOBAL_KEYS), await issued(redis)
    await redis.set(GLOBAL_KEYS.ticket(ticket_name(ticket)), b"shop/ann\nrubbish")
    async with running(desk.run()):
        refused = [ProblemCode.TICKET_NOT_ACCEPTED] * 3
        assert await redeemed(desk, ticket, new_ticket(), "rubbish") == refused


async def test_while_redis_is_away_nobody_is_let_in_and_nobody_waits() -> None:
    redis = away()
    desk = TicketDesk(redis, GLOBAL_KEYS)
    async with running(desk.run()):
        found = await redeemed(desk, *(new_ticket() for _ in range(ROUND_MAX + 1)))
    assert set(found) == {ProblemCode.UNAVAILABLE}
    await redis.aclose()


async def test_more_than_may_wait_are_refused_and_stay_good(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_desk, "WAITING_MAX", 1)
    desk, tickets = TicketDesk(redis, GLOBAL_KEYS), await issued(redis, 2)
    async with running(desk.run()):
        first, second = await redeemed(desk, *tickets)
        assert isinstance(first, Grant)
        assert second is ProblemCode.UNAVAILABLE
        (again,) = await redeemed(desk, tickets[1])
        assert isinstance(again, Grant)
