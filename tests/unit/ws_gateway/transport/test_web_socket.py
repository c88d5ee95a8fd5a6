"""A WebSocket reads frames, within its limits, and answers them."""

import asyncio
import json

import pytest
from websockets.frames import Opcode

from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import gateway_at_work, pub
from ws_gateway.transport.web_socket import SLICE_FRAMES, WebSocket


async def test_a_ping_frame_is_answered_with_what_it_holds() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        peer.send(b"are you there", Opcode.PING)
        frame = await peer.frame()
        assert (frame.opcode, frame.data) == (Opcode.PONG, b"are you there")


async def test_a_binary_message_is_refused_and_the_connection_stays() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        peer.send(b"\x00", Opcode.BINARY)
        assert (await peer.next())["code"] == "unsupported"
        assert await peer.ask({"action": "ping"}) == {"type": "pong"}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\xff\xff\xff\xff", 1002),
        (b"\x81\x81\0\0\0\0\xff", 1007),
        (b"\x81\xfe\xff\xff\0\0\0\0", 1009),
    ],
    ids=["no frame", "no UTF-8", "too large"],
)
async def test_a_broken_frame_closes_with_its_code(data: bytes, code: int) -> None:
    settings = {"socket_frame_max_bytes": 1_000}
    async with gateway_at_work(**settings) as work, work.connect(WebSocket) as (connection, peer):
        peer.end.send(data)
        assert await peer.close_code() == code
        assert connection.closing_since is not None


async def test_nothing_behind_a_broken_frame_is_read() -> None:
    async with gateway_at_work() as work, work.registered() as (_, peer):
        peer.end.send(b"\xff\xff\xff\xff")
        peer.send({"action": "join", "room": "1"})
        assert await peer.close_code() == 1002
        assert await peer.receive() == b""
        assert "default/room:1" not in work.hub.channels


async def test_more_messages_than_a_burst_close_the_connection() -> None:
    limits = {"socket_frames_per_s": 1, "socket_frames_burst": 3}
    async with gateway_at_work(**limits) as work, work.connect(WebSocket) as (_, peer):
        for _ in range(3):
            assert await peer.ask({"action": "ping"}) == {"type": "pong"}
        peer.send({"action": "ping"})
        assert await peer.close_code() == 4502


async def test_an_action_that_waits_holds_up_what_comes_behind_it() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (connection, peer):
        connection.wait()
        peer.send({"action": "ping"})
        await asyncio.sleep(0.02)
        with pytest.raises(BlockingIOError):
            peer.end.recv(1)
        connection.resume()
        assert await peer.next() == {"type": "pong"}


async def test_what_came_in_the_same_read_waits_for_the_action_before_it() -> None:
    async with gateway_at_work() as work, work.registered() as (connection, peer):
        work.redis.held_names = {pub("room:1")}
        peer.send({"action": "join", "room": "1"})
        peer.send({"action": "ping"})
        await until(lambda: connection.busy)
        await asyncio.sleep(0.02)
        work.redis.released.set()
        assert [(await peer.next())["type"] for _ in range(2)] == ["joined", "pong"]


async def test_a_burst_of_frames_is_read_in_slices_and_in_order() -> None:
    count = 3 * SLICE_FRAMES
    limits = {"socket_frames_burst": count}
    async with gateway_at_work(**limits) as work, work.connect(WebSocket) as (_, peer):
        for number in range(count):
            peer.send(b"%d" % number, Opcode.PING)
        assert [(await peer.frame()).data for _ in range(count)] == [
            b"%d" % number for number in range(count)
        ]


async def test_a_fragmented_message_is_one_message() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        text = json.dumps({"action": "ping"}).encode()
        mask = b"\0\0\0\0"
        peer.end.send(b"\x01\x85" + mask + text[:5])
        peer.end.send(b"\x80" + bytes([0x80 | len(text) - 5]) + mask + text[5:])
        assert await peer.next() == {"type": "pong"}


async def test_the_peer_s_close_is_answered_with_its_code() -> None:
    async with gateway_at_work() as work, work.registered() as (connection, peer):
        peer.send((4000).to_bytes(2, "big"), Opcode.CLOSE)
        assert await peer.close_code() == 4000
        assert await peer.receive() == b""
        assert connection not in work.gateway.connections
        assert len(work.gateway.registrations) == 0


async def test_a_message_behind_the_close_is_not_heeded() -> None:
    async with gateway_at_work() as work, work.registered() as (_, peer):
        peer.send((1000).to_bytes(2, "big"), Opcode.CLOSE)
        peer.send({"action": "join", "room": "1"})
        assert await peer.close_code() == 1000
        assert "default/room:1" not in work.hub.channels
