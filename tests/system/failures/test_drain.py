"""SIGTERM of a gateway: no new connections, 1012 for the old ones, spread over the drain time."""

import asyncio
import signal
import socket

from tests.conftest import MakeStack
from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.processes.process import LOOPBACK
from tests.support.waiting import until

DRAIN_S = 4.0
HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def connects(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


async def test_drain_is_spread_and_delivers_meanwhile(make_stack: MakeStack) -> None:
    stack = make_stack(gateways=1, DRAIN_S=str(DRAIN_S))
    port = stack.ports["gateway-1"]
    clients = [Client(stack.ws_urls[0], user=n) for n in range(40)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.__aenter__())
    # A connection that is accepted, but has not yet said what it wants.
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    stack.kill("gateway-1", signal.SIGTERM)
    await until(lambda: any(client.closed_at for client in clients), "the first is closed")
    assert not connects(port)
    writer.write(HANDSHAKE)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503"), "a draining gateway takes no new client"
    writer.close()
    await writer.wait_closed()

    sent = []
    while sum(client.closed_at is None for client in clients) > 5:
        sent.append((await post(stack, {"type": "broadcast", "userId": 1, "message": "m"})).id)
    await until(lambda: all(client.closed_at for client in clients), "all are closed")
    process = stack.processes["gateway-1"]
    assert await asyncio.to_thread(process.wait) == 0

    assert {client.close_code for client in clients} == {1012}
    closed = sorted(client.closed_at or 0 for client in clients)
    # At an even pace: no quarter of the time sees more than half of the closes.
    span = closed[-1] - closed[0]
    assert span > DRAIN_S / 2
    quarters = [sum(q <= 4 * (at - closed[0]) / span < q + 1 for at in closed) for q in range(4)]
    assert max(quarters) <= len(clients) / 2, quarters
    # Everybody had what was sent until they were closed, without holes; the last one most of it.
    for client in clients:
        assert client.ids == sent[: len(client.ids)]
    assert max(len(client.ids) for client in clients) >= len(sent) // 2
    for client in clients:
        await client.close()


async def test_drain_of_nobody_is_over_at_once(make_stack: MakeStack) -> None:
    stack = make_stack(DRAIN_S="3600")
    stack.kill("gateway-1", signal.SIGTERM)
    assert await asyncio.to_thread(stack.processes["gateway-1"].wait) == 0


async def test_server_answers_what_it_has_taken_before_it_stops(make_stack: MakeStack) -> None:
    stack = make_stack(gateways=1)
    async with Client(stack.ws_urls[0], user=1) as client:
        reader, writer = await asyncio.open_connection(LOOPBACK, stack.ports["server-1"])
        stack.valkey.freeze()
        body = b'{"type":"private","userId":1,"target":1,"message":"m"}'
        writer.write(
            b"POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        # A request on a connection that comes later is answered: it has read the first one.
        assert await asyncio.to_thread(stack.get, "server-1", "/healthz") == (
            200,
            '{"status": "alive"}',
        )
        stack.kill("server-1", signal.SIGTERM)
        await until(lambda: not connects(stack.ports["server-1"]), "it takes no more")
        stack.valkey.thaw()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        assert answer.startswith(b"HTTP/1.1 202"), answer
        await until(lambda: client.ids)
        assert client.ids[0].encode() in answer
        assert await asyncio.to_thread(stack.processes["server-1"].wait) == 0
