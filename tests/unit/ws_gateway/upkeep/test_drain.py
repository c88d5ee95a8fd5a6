"""At the end of a gateway every client is asked to come back, one after another."""

import asyncio
import time
from contextlib import AsyncExitStack

import pytest

from tests.unit.ws_gateway.gateway_at_work import gateway_at_work
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.transport.web_socket import WebSocket
from ws_gateway.upkeep.drain import drain

UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


async def test_all_are_closed_with_restarting_and_no_new_ones_are_taken() -> None:
    async with gateway_at_work() as work, AsyncExitStack() as open_:
        peers = [(await open_.enter_async_context(work.registered(str(n))))[1] for n in range(3)]
        draining = asyncio.create_task(drain(work.gateway, 0))
        for peer in peers:
            assert await peer.close_code() == CloseCode.RESTARTING
            peer.end.close()
        await draining
        assert work.gateway.draining
        assert not work.gateway.connections
        async with work.knock() as late:
            late.end.send(UPGRADE)
            assert (await late.all()).startswith(b"HTTP/1.1 503")


async def test_they_are_spread_over_the_time() -> None:
    over_s, count = 0.4, 4
    async with gateway_at_work() as work, AsyncExitStack() as open_:
        made = [await open_.enter_async_context(work.connect(WebSocket)) for _ in range(count)]
        closed: list[float] = []
        began = time.monotonic()

        async def watch(index: int) -> None:
            await made[index][1].close_code()
            closed.append(time.monotonic() - began)
            made[index][1].end.close()

        await asyncio.gather(drain(work.gateway, over_s), *(watch(n) for n in range(count)))
        assert len(closed) == count
        assert max(closed) - min(closed) >= over_s / 2


async def test_who_does_not_answer_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_gateway.upkeep.drain.CLOSE_TIMEOUT_S", 0.1)
    async with gateway_at_work() as work, work.registered() as (_, peer):
        await drain(work.gateway, 0)
        assert await peer.close_code() == CloseCode.RESTARTING
        assert await peer.receive() == b""
