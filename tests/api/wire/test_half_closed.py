"""A client that closes its sending half behind its request is answered, on every way in."""

import asyncio
from collections.abc import Callable

import pytest

from tests.support.clients.http_wire import Wire, chunked, request
from tests.support.processes.stack import Stack

GOOD = b'{"type":"room","userId":1,"target":"nobody-is-here","message":"hi"}'
WAYS: dict[str, tuple[bytes, list[int]]] = {
    "short": (request(GOOD), [202]),
    "short, many": (request(GOOD) * 50, [202] * 50),
    "chunked": (chunked(GOOD), [202]),
    "Connection: close": (request(GOOD, "Connection: close"), [202]),
    "HTTP/1.0": (request(GOOD, version="HTTP/1.0"), [202]),
    "Origin": (request(GOOD, "Origin: https://app.example"), [202]),
    "Upgrade: h2c": (request(GOOD, "Connection: Upgrade", "Upgrade: h2c"), [202]),
    "refused": (request(b"{"), [400]),
    "refused, long": (request(b"{", "Origin: https://app.example"), [400]),
    "an encoding": (request(GOOD, "Content-Encoding: gzip"), [415]),
    "GET": (request(method="GET", path="/readyz", content_type=None), [200]),
    "404": (request(method="GET", path="/nothing", content_type=None), [404]),
    "405": (request(method="PUT"), [405]),
    "mixed": (request(GOOD) + chunked(GOOD) + request(b"{") + request(GOOD), [202, 202, 400, 202]),
    "rubbish": (b"rubbish\r\n\r\n", [400]),
    "half a body": (request(GOOD, "Origin: https://app.example")[:-5], [400]),
    "half a chunk": (chunked(GOOD)[:-15], [400]),
    "a big body": (request(GOOD + b" " * 900_000), [202]),
}


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("way", WAYS)
async def test_who_is_half_closed_gets_every_answer(stack: Stack, way: str, apart: bool) -> None:
    data, statuses = WAYS[way]
    async with Wire(stack.ports["server-1"]) as wire:
        await wire.send(data)
        if apart:
            await asyncio.sleep(0.05)
        wire.writer.write_eof()
        assert [(await wire.reply()).status for _ in statuses] == statuses
        assert await wire.closed()


@pytest.mark.parametrize("way", [way for way in WAYS if way not in ("GET", "404", "405")])
async def test_the_end_that_comes_before_the_answer_takes_nothing_away(
    make_stack: Callable[..., Stack], way: str
) -> None:
    stack = make_stack(gateways=0, workers=0)
    data, statuses = WAYS[way]
    stack.valkey.freeze()
    try:
        async with Wire(stack.ports["server-1"]) as wire:
            await wire.send(data)
            wire.writer.write_eof()
            await asyncio.sleep(0.3)
            stack.valkey.thaw()
            assert [(await wire.reply()).status for _ in statuses] == statuses
            assert await wire.closed()
    finally:
        stack.valkey.thaw()
    assert '"ERROR"' not in stack.processes["server-1"].log.read_text()


@pytest.mark.parametrize("process", ["gateway-1", "worker-1"])
async def test_who_is_half_closed_gets_answers_on_other_ports(stack: Stack, process: str) -> None:
    for path, status in (("/healthz", 200), ("/nothing", 404)):
        async with Wire(stack.ports[process]) as wire:
            await wire.send(request(method="GET", path=path, content_type=None))
            wire.writer.write_eof()
            assert (await wire.reply()).status == status
            assert await wire.closed()


async def test_a_refused_event_stream_or_socket_is_told_so(stack: Stack) -> None:
    upgrade = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
    for path, fields in (("/events?userId=", ()), ("/", upgrade)):
        async with Wire(stack.ports["gateway-1"]) as wire:
            await wire.send(request(b"", *fields, method="GET", path=path, content_type=None))
            wire.writer.write_eof()
            assert (await wire.reply()).status == 400
            assert await wire.closed()
