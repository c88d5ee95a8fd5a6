"""Rubbish on both ports: it is refused, costs nobody else anything, and leaves nothing behind."""

import asyncio
import json
import random
import resource
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.clients.socket_wire import HANDSHAKE, client_frame, open_socket, wire
from tests.support.processes.stack import Stack
from tests.support.skips import skip_or_fail
from tests.support.waiting import until
from ws_gateway.protocol.close_codes import CloseCode

REGISTER = client_frame(b'{"userId":1,"room":1}')


async def still_delivers(stack: Stack) -> None:
    room = uuid4().hex
    async with Client(stack.ws_urls[0], user="sane", room=room) as client:
        answer = await post(stack, {"type": "room", "userId": 1, "target": room, "message": "hi"})
        await until(lambda: client.ids == [answer.id])


def resident_kib(stack: Stack, name: str) -> int:
    status = Path(f"/proc/{stack.processes[name].pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


async def test_one_byte_at_a_time_is_a_conversation_like_any_other(stack: Stack) -> None:
    async with wire(stack.ws_urls[0]) as peer:
        for byte in HANDSHAKE + REGISTER:
            await peer.send(bytes((byte,)))
        assert (await peer.head()).startswith(b"HTTP/1.1 101 ")
        assert json.loads((await peer.frame())[1])["type"] == "registered"


async def test_frames_right_behind_the_handshake_are_read(stack: Stack) -> None:
    ping = client_frame(b'{"action":"ping"}')
    async with open_socket(stack.ws_urls[0], REGISTER + ping) as peer:
        assert json.loads((await peer.frame())[1])["type"] == "registered"
        assert json.loads((await peer.frame())[1])["type"] == "pong"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
        (HANDSHAKE.replace(b"Host: test", b"Host: test\r\nContent-Length: 3") + b"abc", 400),
        (HANDSHAKE.replace(b"Host: test", b"Host: test\r\nTransfer-Encoding: chunked"), 400),
        (HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400),
        (HANDSHAKE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"!!"), 400),
        (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), 426),
        (b"GET / HTTP/1.1\r\nHost: test\r\n\r\n", 426),
        (HANDSHAKE.replace(b"Host: test", b"Host: test\r\nX-Name: \xc3\xa9\xff"), None),
        (HANDSHAKE.replace(b"GET /", b"GET /elsewhere"), 404),
        (HANDSHAKE.replace(b"Host: test", b"X: " + b"a" * 20_000), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ],
)
async def test_a_broken_handshake_is_answered(
    stack: Stack, head: bytes, status: int | None
) -> None:
    async with wire(stack.ws_urls[0]) as peer:
        await peer.send(head)
        answer = await peer.head()
    if status is None:
        assert answer.split()[1] in (b"101", b"400")
    else:
        assert answer.startswith((b"HTTP/1.1 %d " % status, b"HTTP/1.0 %d " % status)), answer


async def test_repeated_connection_headers_are_one_list(stack: Stack) -> None:
    head = HANDSHAKE.replace(
        b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: Upgrade"
    )
    for order in (head, head.replace(b"keep-alive", b"x").replace(b"Connection: x\r\n", b"")):
        async with wire(stack.ws_urls[0]) as peer:
            await peer.send(order)
            assert (await peer.head()).startswith(b"HTTP/1.1 101 ")


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (client_frame(b"hi", masked=False), CloseCode.PROTOCOL_ERROR),
        (b"\xf1\x80\0\0\0\0", CloseCode.PROTOCOL_ERROR),
        (b"\x83\x80\0\0\0\0", CloseCode.PROTOCOL_ERROR),
        (client_frame(b"", 9, fin=False), CloseCode.PROTOCOL_ERROR),
        (client_frame(b"x" * 126, 9), CloseCode.PROTOCOL_ERROR),
        (client_frame(b"x", 0), CloseCode.PROTOCOL_ERROR),
        (client_frame(b"\xff\xfe"), CloseCode.NOT_TEXT),
        (client_frame(b"\x03\xe8\xff\xfe", 8), CloseCode.NOT_TEXT),
        (client_frame(b"\x03", 8), CloseCode.PROTOCOL_ERROR),
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", CloseCode.TOO_LARGE),
        (client_frame(b"[" * 10_000 + b"]" * 6_000), None),
        (client_frame(b'{"userId":"\xed\xa0\x80"}'), CloseCode.NOT_TEXT),
        (client_frame(b"\0\1\2", 2), None),
        (client_frame(b'{"userId":"\\ud800"}'), None),
        (client_frame(b'{"userId":1e400}'), None),
    ],
)
async def test_a_broken_frame_has_its_code_and_an_odd_message_is_survived(
    stack: Stack, frame: bytes, code: CloseCode | None
) -> None:
    async with open_socket(stack.ws_urls[0], frame) as peer:
        if code is not None:
            assert await peer.close_code() == code
            return
        assert json.loads((await peer.frame())[1])["type"] == "error"
        await peer.send(REGISTER)
        assert json.loads((await peer.frame())[1])["type"] == "registered"


async def test_random_bytes_leave_both_ports_serving_and_memory_level(stack: Stack) -> None:
    chance = random.Random(20261121)
    names = [stack.names("gateway")[0], stack.names("server")[0]]

    async def throw(url: str, first: bytes) -> None:
        try:
            async with wire(url) as peer:
                await peer.send(first + chance.randbytes(chance.randrange(1, 3000)))
                if chance.random() < 0.5:
                    peer.writer.write_eof()
                await asyncio.wait_for(peer.reader.read(1024), 0.5)
        except (TimeoutError, OSError):
            pass

    async def round_of(count: int) -> None:
        for _ in range(count // 20):
            await asyncio.gather(
                *(
                    throw(url, first)
                    for url, first in [
                        (stack.ws_urls[0], b""),
                        (stack.ws_urls[0], HANDSHAKE),
                        (stack.ws_urls[0], HANDSHAKE + REGISTER),
                        (stack.http_urls[0], b"POST /notify HTTP/1.1\r\n"),
                        (stack.http_urls[0], b""),
                    ]
                    for _ in range(4)
                )
            )

    await round_of(200)
    before = [resident_kib(stack, name) for name in names]
    await round_of(400)
    after = [resident_kib(stack, name) for name in names]
    await still_delivers(stack)
    for name, old, new in zip(names, before, after, strict=True):
        assert new < 1.3 * old, f"{name} grew from {old} to {new} KiB"


async def test_ten_thousand_connects_and_disconnects_leave_memory_level(stack: Stack) -> None:
    gateway = stack.names("gateway")[0]
    user = 0

    async def come_and_go() -> None:
        nonlocal user
        user += 1
        frame = client_frame(b'{"userId":%d,"room":[1,2]}' % (user % 500))
        async with wire(stack.ws_urls[0]) as peer:
            await peer.send(HANDSHAKE + (frame if user % 2 else b""))
            if user % 3:
                await peer.head()
            if user % 5 == 0:
                peer.writer.transport.abort()

    async def rounds(count: int) -> None:
        for _ in range(count // 50):
            await asyncio.gather(*(come_and_go() for _ in range(50)))

    await rounds(2_000)
    before = resident_kib(stack, gateway)
    await rounds(8_000)
    await until(lambda: stack.metric(gateway, "roomcast_connections") == 0)
    after = resident_kib(stack, gateway)
    await still_delivers(stack)
    assert after < 1.3 * before, f"{gateway} grew from {before} to {after} KiB"


async def test_ten_thousand_connections_are_held(tmp_path: Path) -> None:
    count = 10_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 500:
        skip_or_fail(f"the hard limit of open files is {hard}; {count + 500} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 500), hard))
    with Stack(tmp_path, PING_INTERVAL_S="120") as stack:
        gateway = stack.names("gateway")[0]
        peers = []
        try:
            for first in range(0, count, 200):
                opened = await asyncio.gather(
                    *(
                        asyncio.open_connection("127.0.0.1", stack.ports[gateway])
                        for _ in range(200)
                    )
                )
                for number, (_, writer) in enumerate(opened, first):
                    writer.write(HANDSHAKE + client_frame(b'{"userId":%d}' % number))
                peers += opened
                for reader, _ in opened:
                    await reader.readuntil(b"\r\n\r\n")
            await until(lambda: stack.metric(gateway, "roomcast_registered_connections") == count)
            answer = await post(stack, {"type": "broadcast", "userId": 1, "message": "all"})
            for reader, _ in peers:
                async with asyncio.timeout(60):
                    await reader.readuntil(answer.id.encode())
        finally:
            for _, writer in peers:
                writer.transport.abort()
