"""What writing past a transport relies on, shown with uvloop's transports and real sockets."""

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

import pytest
import uvloop

from ws_gateway.transport.send_buffer import plain_socket, set_send_buffer

CHUNK: Final = bytes(range(256)) * 256


class Served(asyncio.Protocol):
    """Remembers what its transport tells it."""

    def __init__(self) -> None:
        self.here = asyncio.Event()
        self.lost = asyncio.Event()
        self.resumed = asyncio.Event()
        self.told: list[str] = []
        self.open_when_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        fd = plain_socket(self.transport)
        assert fd is not None
        self.fd, self.socket = fd, os.fstat(fd)
        set_send_buffer(self.transport, 16_384)
        self.transport.set_write_buffer_limits(0)
        self.here.set()

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")
        self.resumed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_when_lost = os.path.samestat(os.fstat(self.fd), self.socket)
        self.lost.set()

    def fill(self) -> int:
        """Write to the socket until it takes no more; how many bytes it took."""
        taken = 0
        while True:
            try:
                taken += os.write(self.fd, CHUNK[taken % len(CHUNK) :])
            except BlockingIOError:
                return taken


def serve(scenario: Callable[[Served, socket.socket], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario with a served connection and its client, on the loop that gateways have."""

    async def main() -> None:
        loop, served = asyncio.get_running_loop(), Served()
        server = await loop.create_server(lambda: served, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            async with asyncio.timeout(10):
                await served.here.wait()
                await scenario(served, client)
            served.transport.abort()
            server.close()
            await served.lost.wait()

    uvloop.run(main())


async def reset_by_its_peer(_: Served, client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


async def closed_by_its_peer(_: Served, client: socket.socket) -> None:
    client.close()


async def aborted(served: Served, _: socket.socket) -> None:
    served.transport.abort()


async def aborted_with_bytes_unsent(served: Served, _: socket.socket) -> None:
    served.fill()
    served.transport.write(CHUNK)
    served.transport.close()
    assert not served.lost.is_set()
    served.transport.abort()


async def found_broken_by_a_write(served: Served, client: socket.socket) -> None:
    served.transport.pause_reading()
    await reset_by_its_peer(served, client)
    while True:
        try:
            served.fill()
        except OSError:
            break
        await asyncio.sleep(0.01)
    served.transport.write(CHUNK)


@pytest.mark.parametrize(
    "end",
    [
        reset_by_its_peer,
        closed_by_its_peer,
        aborted,
        aborted_with_bytes_unsent,
        found_broken_by_a_write,
    ],
)
def test_a_socket_is_nobody_elses_until_its_protocol_knows_that_it_is_lost(
    end: Callable[[Served, socket.socket], Coroutine[Any, Any, None]],
) -> None:
    async def scenario(served: Served, client: socket.socket) -> None:
        await end(served, client)
        await served.lost.wait()
        assert served.open_when_lost
        while True:
            # It is closed behind that, so that this test is one.
            try:
                os.fstat(served.fd)
            except OSError:
                return
            await asyncio.sleep(0.01)

    serve(scenario)


def test_the_first_byte_that_waits_is_told_of_at_once_and_the_last_when_it_is_gone() -> None:
    async def scenario(served: Served, client: socket.socket) -> None:
        taken = served.fill()
        rest = CHUNK[taken % len(CHUNK) :]
        assert served.told == []
        served.transport.write(memoryview(rest))
        assert served.told == ["pause"]
        loop = asyncio.get_running_loop()
        client.setblocking(False)
        got = bytearray()
        while len(got) < taken + len(rest):
            got += await loop.sock_recv(client, 1 << 20)
        await served.resumed.wait()
        assert served.told == ["pause", "resume"]
        assert served.transport.get_write_buffer_size() == 0
        whole, part = divmod(len(got), len(CHUNK))
        assert bytes(got) == CHUNK * whole + CHUNK[:part]

    serve(scenario)
