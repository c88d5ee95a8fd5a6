"""A connection between the fan-out, the logs and a peer that reads or doesn't."""

import asyncio
import json

from common.model.publication import Position, Publication
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, Peer, gateway_at_work
from ws_gateway.channels.log_reader import Replay
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.transport.web_socket import WebSocket

BIG = json.dumps({"x": "x" * 60_000}).encode()
SMALL_BUFFERS = {"send_buffer_bytes": 4_096, "socket_unsent_max_bytes": 100_000}


async def test_its_name_is_that_of_the_gateway_and_its_number() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (connection, _):
        assert connection.id == f"gw-{connection.number}"


async def test_what_is_published_reaches_every_member_once_and_in_order() -> None:
    async with (
        gateway_at_work() as work,
        work.registered("ann", "1") as (_, ann),
        work.registered("bob", "1") as (_, bob),
    ):
        work.publish("room:1", b"[1]", b"[2]")
        work.publish("room:1", b"[3]")
        for peer in (ann, bob):
            assert [(await peer.frame()).data for _ in range(3)] == [b"[1]", b"[2]", b"[3]"]


async def _leave_behind(work: GatewayAtWork) -> int:
    """Publish until a member that doesn't read is left behind; return how often."""
    channel = work.hub.channels["default/room:1"]
    for count in range(1, 100):
        work.publish("room:1", BIG)
        if any(member.behind for member in channel.members):
            return count
    raise AssertionError("nobody was left behind")


async def test_one_that_does_not_read_is_left_behind_and_then_caught_up_from_the_log() -> None:
    async with gateway_at_work(**SMALL_BUFFERS) as work, work.registered("ann", "1") as (ann, peer):
        count = await _leave_behind(work)
        assert not ann.clear
        behind = dict(ann.behind)
        (position,) = behind.values()
        assert position.offset < count
        work.publish("room:1", b"[0]")
        log = [Publication("e", n, 1, None, BIG) for n in range(position.offset + 1, count + 1)]
        log.append(Publication("e", count + 1, 1, None, b"[0]"))
        work.redis.replays.append(Replay(Position("e", count + 1), True, log))
        texts = [(await peer.frame()).data for _ in range(count + 1)]
        assert texts == [BIG] * count + [b"[0]"]
        await until(lambda: not ann.behind)
        work.publish("room:1", b"[1]")
        assert (await peer.frame()).data == b"[1]"


async def test_one_that_is_behind_hears_a_channel_from_its_log_only() -> None:
    async with (
        gateway_at_work() as work,
        work.registered("ann", "1") as (ann, peer),
        work.registered("bob", "1") as (_, bob),
    ):
        ann.fall_behind(work.hub.channels["default/room:1"], Position("e", 0))
        work.publish("room:1", b"[1]")
        work.publish("user:ann", b"[0]")
        assert (await bob.frame()).data == b"[1]"
        assert (await peer.frame()).data == b"[0]"
        log = [Publication("e", 1, 1, None, b"[1]")]
        work.redis.replays.append(Replay(Position("e", 1), True, log))
        work.catch_up.begin(ann)
        assert (await peer.frame()).data == b"[1]"
        work.publish("room:1", b"[2]")
        assert (await peer.frame()).data == b"[2]"


async def test_one_that_missed_more_than_the_log_has_is_told() -> None:
    async with gateway_at_work(**SMALL_BUFFERS) as work, work.registered("ann", "1") as (ann, peer):
        count = await _leave_behind(work)
        (position,) = ann.behind.values()
        work.redis.replays.append(Replay(Position("e", count), False, []))
        for _ in range(position.offset):
            assert (await peer.frame()).data == BIG
        reset = await peer.next()
        assert (reset["type"], reset["offset"], reset["recovered"]) == ("reset", count, False)


async def test_one_that_asks_and_does_not_read_the_answers_is_cut_off() -> None:
    async with gateway_at_work(**SMALL_BUFFERS) as work, work.registered() as (ann, peer):
        for _ in range(100):
            ann.send(BIG)
        assert ann.closing_since is not None
        assert await peer.close_code() == CloseCode.SLOW_CONNECTION


async def _ended(peer: Peer) -> bool:
    return await peer.receive() == b""


async def test_a_closed_connection_hears_nothing_more() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (ann, peer):
        ann.close(CloseCode.RESTARTING)
        ann.close(CloseCode.NO_PONG)
        work.publish("room:1", b"[1]")
        assert await peer.close_code() == CloseCode.RESTARTING
        assert not ann.clear
        assert not work.hub.channels["default/room:1"].members
        ann.abort()
        assert await _ended(peer)


async def test_a_peer_that_hangs_up_is_forgotten() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (ann, peer):
        peer.end.close()
        await until(lambda: not work.gateway.connections)
        assert ann.fd == -1
        assert not work.hub.channels["default/user:ann"].members
        work.publish("room:1", b"[1]")
        await asyncio.sleep(0)
