"""Seats of a client's connections at gateways that share a Redis (`connection_quota.py`)."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from common.accounting.connection_counts import ConnectionCounts
from common.auth.client_directory import Directory, DirectoryWriter
from common.auth.client_records import ClientLimits, ClientRecord
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.model.problem_codes import ProblemCode
from tests.support.processes.stack import GLOBAL_KEYS
from tests.support.waiting import until
from ws_gateway.admission.connection_quota import ROOMS_MAX, Seats
from ws_gateway.protocol.messages import MessageError

SHOP = Principal("shop")


class Applicant:
    """A connection that wants a seat."""

    def __init__(self, principal: Principal | None = SHOP) -> None:
        self.address, self.seat, self.principal = "", "", principal


async def directory(redis: Redis, limits: ClientLimits) -> Directory:
    await DirectoryWriter(redis, GLOBAL_KEYS).write(
        [ClientRecord("shop", "Shop", 1, limits=limits)]
    )
    found = Directory(redis, GLOBAL_KEYS)
    await found.refresh()
    return found


async def seats_of(redis: Redis, gateway: str, limits: ClientLimits) -> Seats:
    settings = Settings(client_max_connections=2, max_rooms=7)
    counts = ConnectionCounts(redis, GLOBAL_KEYS)
    return Seats(counts, await directory(redis, limits), settings, gateway)


@contextlib.asynccontextmanager
async def running(*all_seats: Seats) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(seats.run()) for seats in all_seats]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def is_full(seats: Seats) -> bool:
    try:
        seats.check(Applicant())
    except MessageError as error:
        return error.code is ProblemCode.TOO_MANY_CONNECTIONS
    return False


async def test_a_client_has_as_many_seats_as_the_settings_say(redis: Redis) -> None:
    seats = await seats_of(redis, "a", ClientLimits())
    first, second = Applicant(), Applicant()
    for applicant in (first, second, first):
        seats.take(applicant)
    assert first.seat == "shop"
    with pytest.raises(MessageError, match="its 2 connections"):
        seats.take(Applicant())
    seats.leave(first)
    seats.leave(first)
    seats.take(Applicant())
    assert is_full(seats)


async def test_a_client_s_own_limits_count_more_than_the_settings(redis: Redis) -> None:
    seats = await seats_of(redis, "a", ClientLimits(connections=1, rooms_per_connection=3))
    seats.take(Applicant())
    assert is_full(seats)
    assert seats.rooms(SHOP) == 3
    assert seats.rooms(OPEN) == seats.rooms(Principal("other")) == 7
    assert seats.rooms(None) == ROOMS_MAX


async def test_those_without_credentials_need_no_seat(redis: Redis) -> None:
    seats = await seats_of(redis, "a", ClientLimits(connections=1))
    for principal in (OPEN, None):
        for _ in range(3):
            applicant = Applicant(principal)
            seats.take(applicant)
            assert applicant.seat == ""


async def test_gateways_tell_one_another_of_seats_and_of_their_end(redis: Redis) -> None:
    limits = ClientLimits(connections=1)
    here, there = await seats_of(redis, "a", limits), await seats_of(redis, "b", limits)
    here.take(Applicant())
    async with running(here, there):
        await until(lambda: is_full(there))
    await here.close()
    async with running(there):
        await until(lambda: not is_full(there))
