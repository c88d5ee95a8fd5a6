"""One sweep looks after the time limits of all connections."""

import time
from dataclasses import replace

import pytest
from websockets.frames import Opcode

from common.auth.principal import OPEN
from common.web.request_head import HEAD_TIMEOUT_S
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, gateway_at_work
from ws_gateway.channels.hub import LINGER_S
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.transport.connection import CLOSE_TIMEOUT_S
from ws_gateway.transport.first_bytes import Front
from ws_gateway.transport.web_socket import WebSocket
from ws_gateway.upkeep.sweep import Sweep

LIMITS = {"registration_timeout_s": 10, "ping_interval_s": 20, "pong_timeout_s": 10}


async def sweep_after(
    work: GatewayAtWork, seconds: float, fronts: set[Front] | None = None
) -> None:
    """Sweep, as if so much time had passed."""
    work.gateway.clock.now += seconds
    await Sweep(work.gateway, set() if fronts is None else fronts).sweep()


async def test_one_that_does_not_register_in_time_is_closed() -> None:
    async with gateway_at_work(**LIMITS) as work, work.connect(WebSocket) as (connection, peer):
        await sweep_after(work, 9)
        assert connection.closing_since is None
        await sweep_after(work, 2)
        assert await peer.close_code() == CloseCode.NOT_REGISTERED


async def test_a_quiet_one_is_pinged_and_a_silent_one_closed() -> None:
    async with gateway_at_work(**LIMITS) as work, work.registered() as (_, peer):
        await sweep_after(work, 21)
        await sweep_after(work, 8)
        assert (await peer.frame()).opcode is Opcode.PING
        await sweep_after(work, 2)
        assert await peer.close_code() == CloseCode.NO_PONG


async def test_a_sign_of_life_is_enough() -> None:
    async with gateway_at_work(**LIMITS) as work, work.registered() as (connection, peer):
        await sweep_after(work, 21)
        assert (await peer.frame()).opcode is Opcode.PING
        peer.send(b"", Opcode.PONG)
        await until(lambda: not connection.pinged)
        await sweep_after(work, 15)
        assert connection.closing_since is None


@pytest.mark.parametrize(("left_s", "closed"), [(60, False), (-60, True)])
async def test_a_connection_ends_with_its_token(left_s: float, closed: bool) -> None:
    principal = replace(OPEN, expires_s=time.time() + left_s)
    async with (
        gateway_at_work(token_leeway_s=10) as work,
        work.connect(WebSocket, principal) as (connection, peer),
    ):
        await sweep_after(work, 0)
        assert (connection.closing_since is not None) == closed
        if closed:
            assert await peer.close_code() == CloseCode.TOKEN_EXPIRED


async def test_who_does_not_answer_the_close_is_dropped() -> None:
    async with gateway_at_work() as work, work.registered() as (connection, peer):
        connection.close(CloseCode.RESTARTING)
        await sweep_after(work, CLOSE_TIMEOUT_S - 1)
        assert connection in work.gateway.connections
        await sweep_after(work, 2)
        await until(lambda: connection not in work.gateway.connections)
        assert await peer.close_code() == CloseCode.RESTARTING


async def test_a_head_that_does_not_come_is_answered_and_then_dropped() -> None:
    async with gateway_at_work() as work:
        fronts: set[Front] = set()
        async with work.knock(fronts) as peer:
            await until(lambda: fronts)
            await sweep_after(work, HEAD_TIMEOUT_S - 1, fronts)
            await sweep_after(work, 2, fronts)
            assert (await peer.all()).startswith(b"HTTP/1.1 408")


async def test_an_empty_channel_is_closed_after_a_while() -> None:
    async with gateway_at_work() as work:
        async with work.registered("ann"):
            pass
        await until(lambda: not work.gateway.connections)
        await sweep_after(work, LINGER_S - 1)
        assert "default/user:ann" in work.hub.channels
        await sweep_after(work, 2)
        assert not work.hub.channels
