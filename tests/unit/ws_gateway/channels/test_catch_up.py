"""What a connection is behind by comes from the log, up to where the fan-out stands."""

import asyncio
import json
from typing import Any

import pytest

from common.model.publication import Position, Publication
from tests.support.waiting import until
from tests.unit.ws_gateway.fakes import FakeConnection
from tests.unit.ws_gateway.played_redis import PlayedRedis
from ws_gateway.channels.catch_up import CatchUp, Missed
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.log_reader import Replay
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.run import Run


def publication(offset: int, epoch: str = "e") -> Publication:
    return Publication(epoch, offset, 1, None, b"[%d]" % offset)


def channel_at(offset: int, epoch: str = "e") -> Channel:
    channel = Channel("default/room:1", "room:1")
    channel.open_at(Position(epoch, offset))
    return channel


class Reports:
    """Catching up on a played Redis, and what is told of it."""

    def __init__(self) -> None:
        self.redis = PlayedRedis()
        self.replayed: list[list[Run]] = []
        self.read: list[str] = []
        played: Any = self.redis
        self.catch_up = CatchUp(played, self._on_replayed, lambda name, _: self.read.append(name))

    def _on_replayed(self, channel: HeardChannel, runs: list[Run]) -> None:
        self.replayed.append(runs)


def behind(channel: Channel, at: Position) -> FakeConnection:
    member = FakeConnection()
    channel.add(member)
    member.behind = {channel: at}
    return member


def test_of_a_log_only_that_is_sent_which_the_fan_out_has_begun_to_send() -> None:
    replay = Replay(Position("e", 9), True, [publication(n) for n in range(2, 10)])
    missed = Missed(Position("e", 1), replay)
    joined, at, runs = missed.until(channel_at(4))
    assert [item.text for item in joined.items] == [b"[2]", b"[3]", b"[4]"]
    assert (at, runs) == (Position("e", 4), [Run("e", 2, 4)])


def test_frames_of_one_read_are_shared_until_the_channel_moves_on() -> None:
    channel = channel_at(2)
    replay = Replay(Position("e", 3), True, [publication(2), publication(3)])
    missed = Missed(Position("e", 1), replay)
    first = missed.until(channel)[0]
    assert missed.until(channel)[0] is first
    channel.handed = Position("e", 3)
    assert len(missed.until(channel)[0].items) == 2


def test_a_new_epoch_within_a_log_is_told_before_what_it_brings() -> None:
    channel = channel_at(1, "f")
    channel.ended = Position("e", 2)
    replay = Replay(Position("f", 1), True, [publication(2), publication(1, "f")])
    joined, at, runs = Missed(Position("e", 1), replay).until(channel)
    texts = [json.loads(item.text) for item in joined.items]
    assert [texts[0], texts[2]] == [[2], [1]]
    assert (texts[1]["type"], texts[1]["epoch"], texts[1]["recovered"]) == ("reset", "f", True)
    assert [item.is_reset for item in joined.items] == [False, True, False]
    assert (at, runs) == (Position("f", 1), [Run("e", 2, 2), Run("f", 1, 1)])


async def test_a_connection_that_had_everything_hears_the_channel_live_again() -> None:
    reports, channel = Reports(), channel_at(3)
    member = behind(channel, Position("e", 1))
    reports.redis.replays.append(Replay(Position("e", 3), True, [publication(2), publication(3)]))
    reports.catch_up.begin(member)
    reports.catch_up.begin(member)
    await until(lambda: not member.behind)
    assert member.texts == [b"[2]", b"[3]"]
    assert reports.replayed == [[Run("e", 2, 3)]]
    assert reports.read == ["default/room:1"]


async def test_those_who_are_behind_by_the_same_share_one_read() -> None:
    reports, channel = Reports(), channel_at(2)
    members = [behind(channel, Position("e", 1)) for _ in range(3)]
    reports.redis.replays.append(Replay(Position("e", 2), True, [publication(2)]))
    for member in members:
        reports.catch_up.begin(member)
    await until(lambda: not any(member.behind for member in members))
    assert all(member.texts == [b"[2]"] for member in members)
    assert members[0].writes[0] is members[2].writes[0]


async def test_a_log_that_no_longer_reaches_back_is_told_once() -> None:
    reports, channel = Reports(), channel_at(9)
    member = behind(channel, Position("e", 1))
    reports.redis.replays.append(Replay(Position("e", 9), False, [publication(9)]))
    reports.catch_up.begin(member)
    await until(lambda: not member.behind)
    (reset,) = map(json.loads, member.texts)
    assert (reset["type"], reset["offset"], reset["recovered"]) == ("reset", 9, False)
    assert reports.replayed == []


async def test_one_that_is_choked_is_not_written_to_until_it_reads() -> None:
    reports, channel = Reports(), channel_at(2)
    member = behind(channel, Position("e", 1))
    member.choked = True
    reports.catch_up.begin(member)
    await asyncio.sleep(0.01)
    assert member.writes == []
    member.choked = False
    reports.redis.replays.append(Replay(Position("e", 2), True, [publication(2)]))
    reports.catch_up.begin(member)
    await until(lambda: member.texts == [b"[2]"])


async def test_a_client_ahead_of_its_gateway_waits_for_it() -> None:
    reports, channel = Reports(), channel_at(1)
    member = behind(channel, Position("e", 2))
    reports.redis.replays += [Replay(Position("e", 2), True, [])] * 3
    reports.catch_up.begin(member)
    await asyncio.sleep(0.01)
    assert member.behind
    channel.handed = Position("e", 2)
    await until(lambda: not member.behind)
    assert member.writes == []


async def test_redis_is_asked_again_until_it_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_gateway.channels.catch_up.jittered", lambda: iter([0.0, 0.0, 0.0]))
    reports, channel = Reports(), channel_at(2)
    gone = ConnectionError("gone")
    reports.redis.replays += [gone, Replay(Position("e", 2), True, [publication(2)])]
    monkeypatch.setattr("ws_gateway.channels.catch_up._SHARED_S", 0.0)
    member = behind(channel, Position("e", 1))
    reports.catch_up.begin(member)
    await until(lambda: member.texts == [b"[2]"])
    await reports.catch_up.close()


async def test_one_that_cannot_be_brought_up_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    reports, channel = Reports(), channel_at(2)
    member = behind(channel, Position("e", 1))
    reports.redis.replays.append(RuntimeError("broken"))
    reports.catch_up.begin(member)
    await until(lambda: member.cut_off)
    assert "could not be caught up" in caplog.text
