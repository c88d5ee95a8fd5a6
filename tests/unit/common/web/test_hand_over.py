"""A connection changes hands: on real sockets, with what came before and after."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from common.web.hand_over import hand_over


class Heard(asyncio.Protocol):
    """Keeps what it is told, in order."""

    def __init__(self, *, keeps_open: bool = True) -> None:
        self.told: list[object] = []
        self.done = asyncio.get_running_loop().create_future()
        self._keeps_open = keeps_open

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.told.append("made")

    def data_received(self, data: bytes) -> None:
        self.told.append(data)

    def eof_received(self) -> bool:
        self.told.append("eof")
        return self._keeps_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.told.append("lost")
        self.done.set_result(None)


@pytest.fixture
async def connected() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    mine, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
    yield transport, theirs
    transport.abort()
    theirs.close()
    await asyncio.sleep(0)


async def test_what_came_before_comes_first(
    connected: tuple[asyncio.Transport, socket.socket],
) -> None:
    transport, peer = connected
    next_one = Heard()
    hand_over(transport, next_one, b"before", ended=False)
    peer.sendall(b"after")
    while b"after" not in next_one.told:
        await asyncio.sleep(0.001)
    assert next_one.told == ["made", b"before", b"after"]


async def test_a_paused_connection_is_read_again(
    connected: tuple[asyncio.Transport, socket.socket],
) -> None:
    transport, peer = connected
    transport.pause_reading()
    peer.sendall(b"waits")
    next_one = Heard()
    hand_over(transport, next_one, b"", ended=False)
    while b"waits" not in next_one.told:
        await asyncio.sleep(0.001)
    assert next_one.told == ["made", b"waits"]


@pytest.mark.parametrize("keeps_open", [True, False])
async def test_the_end_is_told_after_the_bytes(
    connected: tuple[asyncio.Transport, socket.socket], keeps_open: bool
) -> None:
    transport, _ = connected
    next_one = Heard(keeps_open=keeps_open)
    hand_over(transport, next_one, b"last", ended=True)
    assert next_one.told == ["made", b"last", "eof"]
    assert transport.is_closing() is not keeps_open
