"""What a client may do and for how long, and the close code that each limit has."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients.sender import post
from tests.support.clients.socket_client import Client
from tests.support.clients.socket_wire import HANDSHAKE, client_frame, open_socket, wire
from tests.support.processes.stack import Stack
from tests.support.waiting import until
from ws_gateway.protocol.close_codes import CloseCode

BURST = 20


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("strict")
    with Stack(
        folder,
        REGISTRATION_TIMEOUT_S="1.5",
        PING_INTERVAL_S="1",
        PONG_TIMEOUT_S="1.5",
        SOCKET_FRAME_MAX_BYTES="1000",
        SOCKET_FRAMES_PER_S="1",
        SOCKET_FRAMES_BURST=str(BURST),
        MAX_ROOMS="3",
        SOCKET_UNSENT_MAX_BYTES="65536",
        GAP_CHECK_INTERVAL_S="1",
    ) as stack:
        yield stack


def text(body: object) -> bytes:
    return client_frame(json.dumps(body).encode())


async def test_silence_instead_of_registration_is_closed(strict: Stack) -> None:
    async with open_socket(strict.ws_urls[0]) as peer:
        assert await peer.close_code() == CloseCode.NOT_REGISTERED


async def test_errors_instead_of_registration_are_no_registration(strict: Stack) -> None:
    async with open_socket(strict.ws_urls[0], text({"action": "join", "room": 1})) as peer:
        assert json.loads((await peer.frame())[1])["code"] == "not-registered"
        assert await peer.close_code() == CloseCode.NOT_REGISTERED


async def test_missed_pings_are_closed(strict: Stack) -> None:
    async with open_socket(strict.ws_urls[0], text({"userId": 1})) as peer:
        opcodes = []
        while 8 not in opcodes:
            opcode, payload = await peer.frame()
            opcodes.append(opcode)
        assert opcodes == [1, 9, 8]
        assert int.from_bytes(payload[:2], "big") == CloseCode.NO_PONG


async def test_answered_pings_keep_a_connection(strict: Stack) -> None:
    async with open_socket(strict.ws_urls[0], text({"userId": 1})) as peer:
        await peer.frame()
        for _ in range(3):
            opcode, payload = await peer.frame()
            assert opcode == 9
            await peer.send(client_frame(payload, 10))
        await peer.send(text({"action": "ping"}))
        assert json.loads((await peer.frame())[1]) == {"type": "pong"}


async def test_too_many_messages_are_closed(strict: Stack) -> None:
    ping = text({"action": "ping"})
    async with open_socket(strict.ws_urls[0], text({"userId": 1}) + ping * (BURST + 5)) as peer:
        assert await peer.close_code() == CloseCode.TOO_MANY_FRAMES


async def test_a_burst_within_bounds_is_answered_in_order(strict: Stack) -> None:
    actions = [text({"action": "join", "room": k % 3}) for k in range(BURST - 2)]
    async with open_socket(strict.ws_urls[0], text({"userId": 1}) + b"".join(actions)) as peer:
        answers = [json.loads((await peer.frame())[1]) for _ in range(BURST - 1)]
    assert [answer["type"] for answer in answers] == ["registered"] + ["joined"] * (BURST - 2)
    assert [answer["rooms"] for answer in answers[1:]] == [[str(k % 3)] for k in range(BURST - 2)]


@pytest.mark.parametrize("fragments", [1, 4])
async def test_a_message_over_the_bound_is_closed(strict: Stack, fragments: int) -> None:
    part = b" " * (1200 // fragments)
    frames = [
        client_frame(part, 1 if k == 0 else 0, fin=k == fragments - 1) for k in range(fragments)
    ]
    async with open_socket(strict.ws_urls[0], b"".join(frames)) as peer:
        assert await peer.close_code() == CloseCode.TOO_LARGE
        assert await peer.rest() == b""


async def test_rooms_over_the_bound_are_refused_and_the_connection_lives(strict: Stack) -> None:
    async with open_socket(strict.ws_urls[0], text({"userId": 1, "room": [1, 2, 3, 4]})) as peer:
        assert json.loads((await peer.frame())[1])["code"] == "too-many-rooms"
        await peer.send(text({"userId": 1, "room": [1, 2]}))
        assert json.loads((await peer.frame())[1])["type"] == "registered"
        await peer.send(text({"action": "join", "room": [3, 4]}))
        assert json.loads((await peer.frame())[1])["code"] == "too-many-rooms"
        await peer.send(text({"action": "join", "room": 3}))
        assert json.loads((await peer.frame())[1])["type"] == "joined"


async def test_who_asks_and_does_not_read_the_answers_is_cut_off_and_nobody_else_notices(
    tmp_path: Path,
) -> None:
    join = text({"action": "join", "room": [f"{n:0>100}" for n in range(80)]})
    with Stack(tmp_path, SOCKET_UNSENT_MAX_BYTES="65536") as stack:
        gateway = stack.names("gateway")[0]
        async with (
            Client(stack.ws_urls[0], user="good", room=1) as good,
            open_socket(stack.ws_urls[0], text({"userId": "deaf", "room": 1})) as deaf,
        ):
            # Registered, and from here on nobody takes what the kernel holds.
            assert json.loads((await deaf.frame())[1])["type"] == "registered"
            deaf.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await deaf.send(join * 150)
            await until(
                lambda: stack.metric(gateway, "roomcast_slow_clients_total") == 1, "cut off"
            )
            await post(stack, {"type": "room", "userId": 1, "target": 1, "message": "x"})
            await until(lambda: good.frames)
            deaf.reader._transport.resume_reading()  # type: ignore[attr-defined]
            received = await deaf.rest()
    assert int(CloseCode.SLOW_CONNECTION).to_bytes(2, "big") in received


async def test_a_head_that_does_not_come_is_ended(strict: Stack) -> None:
    async with wire(strict.ws_urls[0]) as peer, wire(strict.http_urls[0]) as other:
        await peer.send(b"GET / HTTP/1.1\r\nHost: ")
        await other.send(b"POST /notify HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        answers = await asyncio.gather(peer.rest(30), other.rest(30))
        assert time.monotonic() - began > 5
    for answer in answers:
        assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]


async def test_a_full_gateway_says_so(tmp_path: Path) -> None:
    with Stack(tmp_path, servers=0, workers=0, MAX_CONNECTIONS="2") as stack:
        async with open_socket(stack.ws_urls[0]), open_socket(stack.ws_urls[0]):
            async with wire(stack.ws_urls[0]) as third:
                await third.send(HANDSHAKE)
                answer = await third.rest()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: " in answer
            # Health is answered beside the sockets.
            assert stack.get(stack.names("gateway")[0], "/healthz")[0] == 200
