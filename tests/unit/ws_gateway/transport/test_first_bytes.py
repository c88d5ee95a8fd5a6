"""The first bytes decide: a WebSocket, an event stream, or plain HTTP."""

import json
from typing import Any

import pytest

from common.model.problem_codes import ProblemCode
from common.web.request_head import HEAD_MAX_BYTES
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, Peer, gateway_at_work
from ws_gateway.protocol.messages import MessageError
from ws_gateway.transport.first_bytes import Front, refused_connection

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13")
OPEN = {"auth_mode": "open"}


def head(*lines: str, target: str = "/") -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: x", *lines, "", ""]).encode()


async def refused(peer: Peer) -> tuple[int, dict[str, Any]]:
    """Status and problem document of a connection that is refused."""
    top, _, body = (await peer.all()).partition(b"\r\n\r\n")
    return int(top.split()[1]), json.loads(body)


async def test_a_handshake_makes_a_web_socket_of_it() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(head(*UPGRADE))
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert (await peer.ask({"userId": "ann"}))["type"] == "registered"
        assert len(work.gateway.connections) == 1


async def test_a_head_may_come_in_pieces_and_frames_right_behind_it() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        whole = head(*UPGRADE)
        for at in range(0, len(whole), 40):
            peer.end.send(whole[at : at + 40])
        peer.send({"action": "ping"})
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert await peer.next() == {"type": "pong"}


async def test_a_stream_of_events_begins_with_its_registration() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(head(target="/events?userId=ann"))
        assert b"text/event-stream" in await peer.until(b"\r\n\r\nevent: registered\n")


@pytest.mark.parametrize("target", ["/", "/metrics", "/events/x"])
async def test_everything_else_is_plain_http(target: str) -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(head(target=target))
        assert await peer.all() == b"plain HTTP: " + head(target=target)
        assert not work.gateway.connections


async def test_what_is_no_head_is_plain_http_s_to_answer() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(b"\x16\x03\x01\x02\x00")
        assert (await peer.all()).startswith(b"plain HTTP: \x16")


async def test_a_head_that_is_too_large_is_not_collected_on() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(b"GET / HTTP/1.1\r\nX: " + b"x" * HEAD_MAX_BYTES)
        assert (await peer.all()).startswith(b"plain HTTP: GET")


async def test_it_is_among_the_fronts_until_it_is_decided() -> None:
    async with gateway_at_work(**OPEN) as work:
        fronts: set[Front] = set()
        async with work.knock(fronts) as peer:
            await until(lambda: fronts)
            peer.end.send(head(*UPGRADE))
            await peer.until(b"\r\n\r\n")
            assert not fronts


@pytest.mark.parametrize(
    ("lines", "target", "status", "code"),
    [
        (("Upgrade: websocket",), "/", 400, "bad-handshake"),
        (UPGRADE, "/elsewhere", 404, "not-found"),
        ((*UPGRADE, "Origin: https://a, https://b"), "/", 403, "forbidden"),
        ((), "/events", 400, "bad-request"),
        ((), "/events?userId=", 400, "invalid"),
        (("Content-Encoding: gzip",), "/events?userId=1", 415, "unsupported-content-encoding"),
    ],
)
async def test_what_can_t_be_let_in_is_a_problem(
    lines: tuple[str, ...], target: str, status: int, code: str
) -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(head(*lines, target=target))
        found, problem = await refused(peer)
        assert (found, problem["code"]) == (status, code)
        assert not work.gateway.connections


async def _turned_away(work: GatewayAtWork) -> tuple[int, str]:
    async with work.knock() as peer:
        peer.end.send(head(*UPGRADE))
        status, problem = await refused(peer)
        return status, problem["code"]


async def test_a_full_gateway_turns_away() -> None:
    async with gateway_at_work(**OPEN, max_connections=1) as work, work.registered():
        assert await _turned_away(work) == (503, "full")


async def test_a_gateway_that_stops_turns_away() -> None:
    async with gateway_at_work(**OPEN) as work:
        work.gateway.draining = True
        assert await _turned_away(work) == (503, "draining")


async def test_more_handshakes_than_fit_into_a_second_are_turned_away() -> None:
    async with gateway_at_work(**OPEN, handshakes_per_s=1) as work, work.knock() as first:
        first.end.send(head(*UPGRADE))
        await first.until(b"\r\n\r\n")
        assert await _turned_away(work) == (503, "too-many-handshakes")


async def test_a_token_is_checked_before_the_handshake_is_answered() -> None:
    async with gateway_at_work(auth_mode="required") as work, work.knock() as peer:
        peer.end.send(head(*UPGRADE, "Authorization: Basic x"))
        status, problem = await refused(peer)
        assert (status, problem["code"]) == (401, "unauthorized")


async def test_a_ticket_that_is_none_is_told_by_a_close_code() -> None:
    async with gateway_at_work(**OPEN) as work, work.knock() as peer:
        peer.end.send(head(*UPGRADE, target="/?ticket=rubbish"))
        assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        assert (await peer.next())["code"] == "ticket-not-accepted"
        assert await peer.close_code() == 4507


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (ProblemCode.UNAUTHORIZED, 401),
        (ProblemCode.TICKET_NOT_ACCEPTED, 401),
        (ProblemCode.UNAVAILABLE, 503),
        (ProblemCode.FORBIDDEN, 403),
        (ProblemCode.INVALID, 422),
    ],
)
def test_the_status_of_a_refusal_follows_from_its_code(code: ProblemCode, status: int) -> None:
    answer = refused_connection(MessageError(code, "because"), "X-Line: 1")
    assert answer.startswith(b"HTTP/1.1 %d" % status)
    assert b"\r\nX-Line: 1\r\n" in answer
    assert (b"Retry-After" in answer) == (status == 503)
