"""Real ports, over the loopback."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import ClientSession, web

from common.config.settings import Settings
from common.telemetry.readiness import Readiness
from common.web.ports import Handler, Port, open_ops_port, open_port
from tests.support.processes.process import free_port

HOST = "127.0.0.1"


async def delivers() -> str | None:
    return None


class Greeter(asyncio.Protocol):
    """Says hello and hangs up; a connection that begins with a G is handed to aiohttp."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if not data.startswith(b"G"):
            self._transport.write(b"hello")
            self._transport.close()
            return
        handler = self._handler()
        self._transport.set_protocol(handler)
        handler.connection_made(self._transport)
        handler.data_received(data)


async def opened(number: int, *, shared: bool = False) -> Port:
    async def page(_: web.Request) -> web.Response:
        return web.Response(text="page")

    app = web.Application()
    app.add_routes([web.get("/", page)])
    return await open_port(
        app,
        lambda handler, _: Greeter(handler),
        Settings(host=HOST),
        number,
        backlog=10,
        shared=shared,
    )


async def test_the_port_for_operators_has_their_routes_and_no_others() -> None:
    number = free_port()
    runner = await open_ops_port(Readiness(delivers), HOST, number, shared=False)
    try:
        async with ClientSession(f"http://{HOST}:{number}") as session:
            for path, status in [("healthz", 200), ("readyz", 503), ("metrics", 200), ("", 404)]:
                async with session.get(f"/{path}") as response:
                    assert response.status == status, path
    finally:
        await runner.cleanup()


async def test_a_connection_begins_with_our_protocol_which_may_hand_it_to_aiohttp() -> None:
    number = free_port()
    port = await opened(number)
    try:
        assert not port.is_tls
        reader, writer = await asyncio.open_connection(HOST, number)
        writer.write(b"X")
        assert await reader.read() == b"hello"
        writer.close()
        async with ClientSession() as session, session.get(f"http://{HOST}:{number}/") as response:
            assert await response.text() == "page"
    finally:
        await port.cleanup()


@pytest.mark.parametrize("end", [Port.close, Port.cleanup])
async def test_a_closed_port_takes_no_more_connections(end: Callable[[Port], object]) -> None:
    number = free_port()
    port = await opened(number)
    await getattr(port, end.__name__)()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, number)
    await port.cleanup()


async def test_a_port_is_shared_only_if_it_is_meant_to_be() -> None:
    number = free_port()
    first, second = await opened(number, shared=True), await opened(number, shared=True)
    with pytest.raises(OSError, match="in use"):
        await opened(number)
    await first.cleanup()
    await second.cleanup()
