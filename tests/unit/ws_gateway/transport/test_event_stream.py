"""A stream hears what a socket hears, as events with ids to come back with."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from common.auth.principal import OPEN, Principal
from common.model.publication import Position, Publication
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import GatewayAtWork, Peer, gateway_at_work
from ws_gateway.channels.log_reader import Replay
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.event_ids import EventIds, read_event_id
from ws_gateway.protocol.event_stream_format import read_stream_request
from ws_gateway.transport.event_stream import RECEIVED_MAX_BYTES, EventStream

CHANNELS = ("user:ann", "room:1", "broadcast")


class Listener:
    """The client of a stream."""

    def __init__(self, stream: EventStream, peer: Peer) -> None:
        self.stream = stream
        self.peer = peer
        self.last_id = ""
        self._unread = b""

    async def part(self, end: bytes = b"\n\n") -> bytes:
        """What comes up to an end."""
        while end not in self._unread:
            data = await self.peer.receive()
            assert data, "the stream ended"
            self._unread += data
        part, _, self._unread = self._unread.partition(end)
        return part

    async def next(self) -> tuple[str, Any]:
        """The next event: its name and data."""
        fields = [line.partition(b": ") for line in (await self.part()).split(b"\n")]
        found = {name.decode(): value.decode() for name, _, value in fields}
        self.last_id = found.get("id", self.last_id)
        return found.get("event", "message"), json.loads(found["data"])

    @property
    def positions(self) -> dict[str, Position]:
        """The positions in the last id."""
        return read_event_id(self.last_id, CHANNELS)


@asynccontextmanager
async def listening(
    work: GatewayAtWork, last_id: str = "", principal: Principal = OPEN
) -> AsyncIterator[Listener]:
    async with work.connect(EventStream, principal) as (stream, peer):
        stream.begin(read_stream_request("userId=ann&room=1", last_id), "X-Line: 1")
        yield Listener(stream, peer)


async def test_the_head_and_the_registration_come_first() -> None:
    async with gateway_at_work() as work, listening(work) as listener:
        top = await listener.part(b"\r\n\r\n")
        assert top.startswith(b"HTTP/1.1 200")
        assert top.endswith(b"\r\nX-Line: 1")
        name, registered = await listener.next()
        assert (name, registered["userId"], registered["rooms"]) == ("registered", "ann", ["1"])
        assert listener.positions == dict.fromkeys(CHANNELS, Position("e", 0))


@asynccontextmanager
async def registered(work: GatewayAtWork, last_id: str = "") -> AsyncIterator[Listener]:
    async with listening(work, last_id) as listener:
        await listener.part(b"\r\n\r\n")
        assert (await listener.next())[0] == "registered"
        yield listener


async def test_each_notification_is_an_event_whose_id_holds_all_positions() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        work.publish("room:1", b'{"n":1}', b'{\n"n":2}')
        work.publish("user:ann", b'{"n":3}')
        assert await listener.next() == ("message", {"n": 1})
        assert listener.positions["room:1"] == Position("e", 1)
        assert b"data: {\ndata: " in await listener.part()
        assert await listener.next() == ("message", {"n": 3})
        assert listener.positions == {
            "room:1": Position("e", 2),
            "user:ann": Position("e", 1),
            "broadcast": Position("e", 0),
        }


async def test_until_it_was_sent_what_was_missed_the_id_stays_where_the_client_was() -> None:
    async with gateway_at_work() as work:
        work.stand_at("room:1", 3)
        at = {"room:1": Position("e", 1), "user:ann": Position("e", 0)}
        last_id = EventIds(at | {"broadcast": Position("e", 0)}).id().decode()
        log = [Publication("e", n, 1, None, b"[%d]" % n) for n in (2, 3)]
        work.redis.replays.append(Replay(Position("e", 3), True, log))
        async with registered(work, last_id) as listener:
            assert listener.positions["room:1"] == Position("e", 1)
            assert await listener.next() == ("message", [2])
            assert listener.positions["room:1"] == Position("e", 2)
            assert await listener.next() == ("message", [3])


async def test_a_new_epoch_is_an_event_of_its_own() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        channel = work.hub.channels["default/room:1"]
        before = channel.pending_bytes
        assert channel.adopt(Position("f", 0), "e")
        work.hub.fan_out.enqueue(channel, channel.pending_bytes - before)
        work.hub.fan_out.turn()
        name, reset = await listener.next()
        assert (name, reset["epoch"], reset["recovered"]) == ("reset", "f", True)
        assert listener.positions["room:1"] == Position("f", 0)


async def test_a_signal_is_an_event_of_its_name_and_moves_nothing() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        before = listener.positions
        listener.stream.send(b'{"type":"read","userId":"ann","ids":["a"]}')
        assert (await listener.next())[0] == "read"
        assert listener.positions == before


async def test_a_close_is_the_last_event() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        listener.stream.close(CloseCode.RESTARTING)
        name, reason = await listener.next()
        assert (name, reason["code"], reason["comeBack"]) == ("close", 1012, True)
        assert await listener.peer.receive() == b""


async def test_a_ping_is_a_comment_and_counts_as_a_sign_of_life() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        work.gateway.clock.now += 60
        listener.stream.ping()
        assert await listener.part() == b": ping"
        assert listener.stream.seen == work.gateway.clock.now
        assert not listener.stream.pinged


async def test_a_client_that_says_too_much_is_closed() -> None:
    async with gateway_at_work() as work, registered(work) as listener:
        listener.peer.end.send(b"x" * 1_000)
        listener.peer.end.send(b"x" * RECEIVED_MAX_BYTES)
        assert (await listener.next())[1]["code"] == CloseCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    ("limits", "principal", "status"),
    [
        ({}, Principal("shop", user="bob"), 403),
        ({"client_max_connections": 1}, Principal("shop", user="ann"), 429),
    ],
)
async def test_one_that_may_not_register_gets_no_stream(
    limits: dict[str, int], principal: Principal, status: int
) -> None:
    request = read_stream_request("userId=ann", None)
    async with (
        gateway_at_work(**limits) as work,
        work.connect(EventStream, Principal("shop", user="ann")) as (first, _),
        work.connect(EventStream, principal) as (stream, peer),
    ):
        work.admission.admit(first, request.registration(1))
        stream.begin(request)
        assert (await peer.all()).startswith(b"HTTP/1.1 %d" % status)
        await until(lambda: stream not in work.gateway.connections)
