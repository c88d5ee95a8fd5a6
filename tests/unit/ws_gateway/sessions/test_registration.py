"""A connection is let in with all it missed, in one step, or not at all."""

import asyncio

from common.model.publication import Position, Publication
from tests.support.waiting import until
from tests.unit.ws_gateway.gateway_at_work import gateway_at_work, pub
from ws_gateway.channels.log_reader import Replay
from ws_gateway.transport.web_socket import WebSocket


async def test_the_answer_says_where_each_channel_stands() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (connection, peer):
        work.stand_at("user:ann", 3)
        answer = await peer.ask({"userId": "ann", "room": "1"})
        assert answer["connectionId"] == connection.id
        assert answer["channels"] == {
            "user:ann": {"epoch": "e", "offset": 3},
            "room:1": {"epoch": "e", "offset": 0},
            "broadcast": {"epoch": "e", "offset": 0},
        }
        assert len(work.gateway.registrations) == 1


async def test_what_was_missed_follows_the_answer_and_then_what_is_live() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        work.stand_at("user:ann", 3)
        log = [Publication("e", n, 1, None, b"[%d]" % n) for n in (2, 3)]
        work.redis.replays.append(Replay(Position("e", 3), True, log))
        resume = {"user:ann": {"epoch": "e", "offset": 1}, "broadcast": {"epoch": "e", "offset": 0}}
        answer = await peer.ask({"userId": "ann", "resume": resume})
        recovered = {label: at["recovered"] for label, at in answer["channels"].items()}
        assert recovered == {"user:ann": True, "broadcast": True}
        work.publish("user:ann", b"[4]")
        assert [(await peer.frame()).data for _ in range(3)] == [b"[2]", b"[3]", b"[4]"]


async def test_a_position_that_the_log_no_longer_reaches_is_not_recovered() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        work.stand_at("user:ann", 300)
        work.redis.replays.append(Replay(Position("e", 300), False, []))
        resume = {"user:ann": {"epoch": "e", "offset": 1}}
        answer = await peer.ask({"userId": "ann", "resume": resume})
        assert answer["channels"]["user:ann"] == {"epoch": "e", "offset": 300, "recovered": False}


async def test_nothing_is_read_for_one_that_missed_nothing() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (_, peer):
        work.stand_at("user:ann", 3)
        resume = {"user:ann": {"epoch": "e", "offset": 3}}
        # There is no replay to be had.
        answer = await peer.ask({"userId": "ann", "resume": resume})
        assert answer["channels"]["user:ann"]["recovered"] is True


async def test_one_that_is_gone_before_its_channels_are_open_is_not_let_in() -> None:
    async with gateway_at_work() as work, work.connect(WebSocket) as (connection, peer):
        work.redis.held_names = {pub("user:ann")}
        peer.send({"userId": "ann"})
        await until(lambda: connection.busy)
        connection.abort()
        await until(lambda: connection not in work.gateway.connections)
        work.redis.released.set()
        channel = work.hub.channels["default/user:ann"]
        await until(lambda: not channel.waiters)
        await asyncio.sleep(0)
        assert not channel.members
        assert len(work.gateway.registrations) == 0


async def test_the_end_takes_it_out_of_all_channels_once() -> None:
    async with gateway_at_work() as work, work.registered("ann", "1") as (connection, _):
        work.gateway.forget(connection)
        work.gateway.forget(connection)
        assert len(work.gateway.registrations) == 0
        assert (connection.user, connection.rooms) == (None, ())
        assert not any(channel.members for channel in work.hub.channels.values())
