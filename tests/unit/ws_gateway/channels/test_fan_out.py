from typing import Any

from common.model.publication import Position, Publication
from tests.unit.ws_gateway.fakes import FakeConnection, FakeLoop, add, remove, send, unwritten
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.fan_out import SLICE_WRITES, FanOut


class Room:
    """A channel with members, and the fan-out that it shares with others."""

    def __init__(self, fan_out: FanOut, members: int, label: str = "room:1") -> None:
        self.fan_out = fan_out
        self.channel = Channel(f"default/{label}", label)
        self.channel.open_at(Position("a", 0))
        self.members = [FakeConnection(f"{label} {n}") for n in range(members)]
        for member in self.members:
            add(self.channel, member)

    def publish(self, *texts: bytes) -> None:
        for text in texts:
            before = self.channel.pending_bytes
            offset = self.channel.position.offset + 1
            assert self.channel.receive(Publication("a", offset, 0, None, text))
            self.fan_out.enqueue(self.channel, self.channel.pending_bytes - before)

    @property
    def served(self) -> int:
        return sum(bool(member.writes) for member in self.members)


def fan_out_and_loop() -> tuple[FanOut, FakeLoop, list[int]]:
    loop, progress = FakeLoop(), list[int]()
    anything: Any = loop
    return FanOut(anything, progress.append, unwritten, send), loop, progress


def test_all_that_waits_for_a_small_channel_goes_out_at_once_and_in_one_write() -> None:
    fan_out, loop, progress = fan_out_and_loop()
    room = Room(fan_out, 3)
    room.publish(b"1", b"2", b"3")
    assert progress == []
    fan_out.turn()
    for member in room.members:
        assert len(member.writes) == 1
        assert member.texts == [b"1", b"2", b"3"]
    assert room.members[0].writes[0] is room.members[1].writes[0]
    assert not loop.scheduled
    assert (progress, fan_out.idle) == ([0], True)


def test_a_large_channel_is_served_a_slice_each_turn_of_the_loop() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    room = Room(fan_out, 3 * SLICE_WRITES)
    room.publish(b"x")
    for turn in (1, 2, 3):
        if turn == 1:
            fan_out.turn()
        else:
            assert loop.turn()
        assert room.served == turn * SLICE_WRITES
    assert not loop.turn()
    assert fan_out.idle


def test_a_private_message_overtakes_a_broadcast_to_others() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    broadcast, private = Room(fan_out, 10 * SLICE_WRITES), Room(fan_out, 1, "user:1")
    broadcast.publish(b"to all")
    fan_out.turn()
    private.publish(b"to one")
    fan_out.turn()
    assert private.members[0].texts == [b"to one"]
    assert broadcast.served <= 2 * SLICE_WRITES
    loop.run()
    assert broadcast.served == 10 * SLICE_WRITES


def test_a_small_channel_goes_first_even_if_it_came_last() -> None:
    fan_out, _, _ = fan_out_and_loop()
    large, small = Room(fan_out, 5 * SLICE_WRITES), Room(fan_out, 2, "room:2")
    large.publish(b"x")
    small.publish(b"y")
    fan_out.turn()
    assert small.served == 2


def test_what_is_published_during_a_pass_is_joined_into_the_next_one() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    room = Room(fan_out, 2 * SLICE_WRITES)
    room.publish(b"1")
    fan_out.turn()
    room.publish(b"2", b"3")
    fan_out.turn()
    loop.run()
    for member in room.members:
        assert member.texts == [b"1", b"2", b"3"]
        assert len(member.writes) == 2


def test_who_joins_during_a_pass_hears_what_comes_after_it_only() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    room, late = Room(fan_out, 2 * SLICE_WRITES), FakeConnection()
    room.publish(b"1")
    fan_out.turn()
    add(room.channel, late)
    assert room.channel.handed.offset == 1
    room.publish(b"2")
    fan_out.turn()
    loop.run()
    assert late.texts == [b"2"]


def test_who_leaves_during_a_pass_hears_nothing_of_the_rest_of_it() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    room = Room(fan_out, 2 * SLICE_WRITES)
    room.publish(b"1")
    fan_out.turn()
    gone, back = room.members[-1], room.members[-2]
    for member in (gone, back):
        remove(room.channel, member)
    add(room.channel, back)
    loop.run()
    assert (gone.writes, back.writes) == ([], [])
    assert room.served == 2 * SLICE_WRITES - 2
    room.publish(b"2")
    fan_out.turn()
    loop.run()
    assert (gone.texts, back.texts) == ([], [b"2"])


def test_who_is_not_clear_is_looked_at_before_the_write() -> None:
    fan_out, _, _ = fan_out_and_loop()
    room = Room(fan_out, 3)
    room.members[1].clear = False
    room.members[1].cut_off = True
    room.publish(b"x")
    fan_out.turn()
    assert [len(member.writes) for member in room.members] == [1, 0, 1]


def test_what_a_socket_does_not_take_waits_in_its_transport_and_nothing_overtakes_it() -> None:
    fan_out, _, _ = fan_out_and_loop()
    room = Room(fan_out, 3)
    full, partly, free = room.members
    full.room, partly.room = 0, 1
    room.publish(b"one")
    fan_out.turn()
    assert [len(member.writes) for member in room.members] == [1, 2, 1]
    assert [member.clear for member in room.members] == [False, False, True]
    room.publish(b"two")
    fan_out.turn()
    assert all(member.texts == [b"one", b"two"] for member in (full, partly, free))


def test_a_channel_without_members_takes_no_room() -> None:
    fan_out, _, progress = fan_out_and_loop()
    room = Room(fan_out, 0)
    room.publish(b"x" * 1000)
    fan_out.turn()
    assert progress == [0]
    assert room.channel.handed.offset == 1


def test_the_bytes_that_wait_are_told_after_each_turn() -> None:
    fan_out, loop, progress = fan_out_and_loop()
    room = Room(fan_out, 3 * SLICE_WRITES)
    room.publish(b"x" * 100)
    fan_out.turn()
    room.publish(b"x" * 100)
    fan_out.turn()
    loop.run()
    assert progress[0] == 0
    assert max(progress) == 100
    assert progress[-1] == 0


def test_many_small_channels_share_the_turns_and_all_are_served() -> None:
    fan_out, loop, _ = fan_out_and_loop()
    rooms = [Room(fan_out, SLICE_WRITES // 2, f"room:{n}") for n in range(10)]
    for room in rooms:
        room.publish(b"x")
    fan_out.turn()
    assert 0 < sum(room.served for room in rooms) <= 2 * SLICE_WRITES
    loop.run()
    assert all(room.served == SLICE_WRITES // 2 for room in rooms)
