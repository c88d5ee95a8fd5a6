"""A channel and the fan-out under any interleaving, against a model of what Redis published."""

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from common.model.publication import Position, Publication
from tests.support.examples import examples
from tests.unit.ws_gateway.fakes import (
    FakeConnection,
    FakeLoop,
    add,
    remove,
    send,
    unwritten,
)
from ws_gateway.channels import fan_out as fan_out_module
from ws_gateway.channels.channel import HELD_BACK_MAX, JOIN_MAX_BYTES, Channel, State
from ws_gateway.channels.fan_out import FanOut


def publication(offset: int, epoch: str = "a", text: bytes | None = None) -> Publication:
    return Publication(epoch, offset, 0, None, b"%d" % offset if text is None else text)


def publications(member: FakeConnection) -> list[bytes]:
    return [text for text in member.texts if not text.startswith(b'{"type":"reset"')]


class ChannelMachine(RuleBasedStateMachine):
    """Redis publishes; pub/sub drops, repeats and delays; members come and go; the log repairs."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Publication] = []
        self.silent_epoch = self.epoch = "e0"
        self.epochs = 0
        self.in_flight: list[Publication] = []
        self.loop = FakeLoop()
        loop: Any = self.loop
        self.progress: list[int] = []
        self.fan_out = FanOut(loop, self.progress.append, unwritten, send)
        self.channel = Channel("default/room:1", "room:1")
        self.members: dict[FakeConnection, int] = {}
        self.gone: dict[FakeConnection, int] = {}
        self.repairing: tuple[deque[Publication], list[Publication], Position] | None = None

    @property
    def now(self) -> Position:
        return Position(self.log[-1].epoch if self.log else self.silent_epoch, len(self.log))

    # Redis.

    @rule(
        dropped=st.booleans(),
        size=st.sampled_from([1, 1, 1, 100_000]),
        restarted=st.sampled_from([False] * 9 + [True]),
    )
    def publish(self, dropped: bool, size: int, restarted: bool) -> None:
        base = None
        if restarted or not self.log:
            base = self.now
            self.epochs += 1
            self.epoch = f"e{self.epochs}"
        offset = len(self.log) + 1
        text = b"%d " % offset + b"x" * size
        published = Publication(self.epoch, offset, 0, base, text)
        self.log.append(published)
        if not dropped:
            self.in_flight.append(published)

    @rule(back=st.integers(1, 5))
    @precondition(lambda self: self.log)
    def repeat(self, back: int) -> None:
        self.in_flight.append(self.log[max(0, len(self.log) - back)])

    # The gateway.

    def enqueue(self, before: int) -> None:
        self.fan_out.enqueue(self.channel, self.channel.pending_bytes - before)

    @rule()
    @precondition(lambda self: self.channel.state is State.OPENING)
    def open(self) -> None:
        before = self.channel.pending_bytes
        if self.channel.open_at(self.now):
            self.enqueue(before)

    @rule(most=st.integers(1, 4))
    @precondition(lambda self: self.in_flight)
    def receive(self, most: int) -> None:
        for _ in range(min(most, len(self.in_flight))):
            before = self.channel.pending_bytes
            if self.channel.receive(self.in_flight.pop(0)):
                self.enqueue(before)
        self.fan_out.turn()

    @rule()
    @precondition(lambda self: self.channel.state is State.LIVE)
    def check(self) -> None:
        if self.channel.position != self.now:
            self.channel.state = State.BEHIND

    @rule(most=st.integers(1, 4))
    @precondition(lambda self: self.channel.state is State.BEHIND and not self.repairing)
    def ask_the_log(self, most: int) -> None:
        entries = self.log[self.channel.position.offset :][:most]
        self.repairing = self.channel.set_aside(), entries, self.now

    @rule(lost=st.sampled_from([False, False, True]))
    @precondition(lambda self: self.repairing)
    def answer_of_the_log(self, lost: bool) -> None:
        assert self.repairing
        (aside, entries, now), self.repairing = self.repairing, None
        if lost:
            self.channel.put_back(aside)
            return
        before = self.channel.pending_bytes
        self.channel.fill(entries, now)
        if self.channel.pending_bytes > before:
            self.enqueue(before)
        if self.channel.position.offset >= now.offset:
            before = self.channel.pending_bytes
            if self.channel.caught_up():
                self.enqueue(before)
        self.fan_out.turn()

    @rule()
    def turn(self) -> None:
        self.loop.turn()

    # Members.

    @rule()
    @precondition(lambda self: self.channel.state is not State.OPENING)
    def join(self) -> None:
        member = FakeConnection(str(len(self.members) + len(self.gone)))
        add(self.channel, member)
        self.members[member] = self.channel.handed.offset

    @rule(which=st.integers(0, 10), again=st.booleans(), clear=st.booleans())
    @precondition(lambda self: self.members)
    def leave(self, which: int, again: bool, clear: bool) -> None:
        member = list(self.members)[which % len(self.members)]
        member.clear = clear
        remove(self.channel, member)
        since = self.members.pop(member)
        self.assert_heard(member, since)
        self.gone[member] = len(publications(member))
        if again:
            add(self.channel, member)
            heard = len(member.writes)
            member.writes = member.writes[heard:]
            del self.gone[member]
            self.members[member] = self.channel.handed.offset

    # Promises.

    def assert_heard(self, member: FakeConnection, since: int) -> None:
        heard = publications(member)
        assert heard == [entry.text for entry in self.log[since : since + len(heard)]]
        assert not any(b'"recovered":false' in text for text in member.texts)

    @invariant()
    def every_member_hears_what_came_after_it_joined_once_and_in_order(self) -> None:
        for member, since in self.members.items():
            self.assert_heard(member, since)

    @invariant()
    def who_left_hears_nothing_more(self) -> None:
        for member, heard in self.gone.items():
            assert len(publications(member)) == heard

    @invariant()
    def bytes_that_wait_are_counted(self) -> None:
        assert self.fan_out.waiting_bytes == self.channel.pending_bytes
        assert self.channel.pending_bytes == sum(len(p.text) for p in self.channel.pending)

    def teardown(self) -> None:
        if self.channel.state is State.OPENING:
            self.open()
        while self.in_flight:
            self.receive(10)
        for _ in range(2):
            if self.repairing:
                self.answer_of_the_log(False)
            if self.channel.state is State.LIVE:
                self.check()
            if self.channel.state is State.BEHIND:
                self.ask_the_log(len(self.log))
        self.loop.run()
        assert self.channel.position == self.now
        assert self.channel.handed == self.now
        assert self.channel.is_quiet
        assert self.fan_out.idle
        for member, since in self.members.items():
            assert len(publications(member)) == len(self.log) - since
            self.assert_heard(member, since)


@pytest.mark.parametrize("slice_writes", [1, 2, 200])
def test_every_member_gets_everything_once_and_in_order(
    slice_writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fan_out_module, "SLICE_WRITES", slice_writes)
    run_state_machine_as_test(ChannelMachine, settings=examples(40, stateful_step_count=40))


def state(channel: Channel) -> State:
    return channel.state


def opened(at: int = 0) -> Channel:
    channel = Channel("default/room:1", "room:1")
    channel.open_at(Position("a", at))
    return channel


def test_what_comes_before_the_position_is_known_is_held_back_and_sorted_out() -> None:
    channel = Channel("default/room:1", "room:1")
    assert not any(channel.receive(publication(offset)) for offset in (4, 5, 6))
    assert channel.open_at(Position("a", 5))
    assert [item.position.offset for item in channel.pending] == [6]
    assert channel.handed == Position("a", 5)


def test_a_gap_holds_back_what_comes_behind_it() -> None:
    channel = opened()
    assert channel.receive(publication(1))
    assert not channel.receive(publication(3))
    assert state(channel) is State.BEHIND
    assert not channel.receive(publication(4))
    assert channel.fill([publication(2), publication(3)], Position("a", 3)) == 2
    assert channel.caught_up()
    assert [item.position.offset for item in channel.pending] == [1, 2, 3, 4]
    assert state(channel) is State.LIVE


def test_a_gap_in_what_was_held_back_is_a_gap_again() -> None:
    channel = opened()
    for offset in (2, 4):
        channel.receive(publication(offset))
    channel.fill([publication(1), publication(2)], Position("a", 2))
    channel.caught_up()
    assert state(channel) is State.BEHIND
    channel.fill([publication(3), publication(4)], Position("a", 4))
    channel.caught_up()
    assert state(channel) is State.LIVE
    assert channel.position == Position("a", 4)


def test_what_is_held_back_is_bounded_and_then_comes_from_the_log() -> None:
    channel = opened()
    for offset in range(2, HELD_BACK_MAX + 100):
        channel.receive(publication(offset))
    assert channel.pending_bytes == 0
    channel.fill([publication(1)], Position("a", 1))
    channel.caught_up()
    assert state(channel) is State.BEHIND
    assert channel.position.offset == 1


def told(channel: Channel) -> list[dict[str, Any]]:
    """What members are told when everything pending goes out, in order: offsets and resets."""
    heard = FakeConnection()
    while channel.pending:
        heard.write_rest(channel.take_join().frames)
    found = []
    for text in heard.texts:
        body = json.loads(text)
        found.append(body if isinstance(body, dict) else {"offset": body})
    return found


def test_where_the_log_no_longer_reaches_the_channel_jumps_and_says_so() -> None:
    channel = opened()
    channel.receive(publication(900))
    channel.fill([], Position("b", 899), exact=False)
    channel.caught_up()
    assert channel.position == Position("b", 899)
    assert told(channel) == [
        {"type": "reset", "channel": "room:1", "epoch": "b", "offset": 899, "recovered": False}
    ]
    assert channel.handed == Position("b", 899)


def test_a_hole_in_the_log_is_told_before_what_is_behind_it() -> None:
    channel = opened()
    channel.receive(publication(900))
    channel.fill([publication(n) for n in (899, 900)], Position("a", 900), exact=False)
    channel.caught_up()
    reset, *rest = told(channel)
    assert (reset["offset"], reset["recovered"]) == (898, False)
    assert rest == [{"offset": 899}, {"offset": 900}]


def test_an_epoch_that_ends_without_loss_is_told_as_recovered() -> None:
    channel = opened()
    channel.receive(publication(1))
    channel.receive(Publication("b", 2, 0, Position("a", 1), b"2"))
    first, reset, second = told(channel)
    assert (first, second) == ({"offset": 1}, {"offset": 2})
    assert (reset["epoch"], reset["offset"], reset["recovered"]) == ("b", 1, True)


def test_a_silent_channel_takes_a_new_epoch_over_only_from_the_one_it_was_in() -> None:
    channel = opened()
    assert not channel.adopt(Position("c", 0), before="b")
    assert channel.adopt(Position("b", 0), before="a")
    assert [reset["epoch"] for reset in told(channel)] == ["b"]


def test_a_joined_write_is_bounded_but_takes_at_least_one() -> None:
    channel = opened()
    sizes = [JOIN_MAX_BYTES // 2] * 3 + [2 * JOIN_MAX_BYTES, 1]
    for offset, size in enumerate(sizes, 1):
        channel.receive(publication(offset, text=b"x" * size))
    runs = []
    while channel.pending:
        items = channel.take_join().items
        runs.append([item.position.offset for item in items])
        assert len(items) == 1 or sum(len(item.text) for item in items) <= JOIN_MAX_BYTES
        assert channel.handed == items[-1].position
    assert runs == [[1, 2], [3], [4], [5]]
    assert channel.pending_bytes == 0


def test_what_is_left_of_an_epoch_that_ended_does_not_keep_the_channel_behind() -> None:
    # Redis was killed while a gap was filled: what was held back is of its former run.
    channel = opened()
    channel.receive(publication(2))
    assert state(channel) is State.BEHIND
    aside = channel.set_aside()
    log = [publication(1), publication(2), Publication("b", 3, 0, Position("a", 2), b"3")]
    channel.receive(log[-1])
    channel.fill(log, Position("b", 3))
    channel.caught_up()
    assert state(channel) is State.LIVE
    assert [entry["offset"] for entry in told(channel) if "type" not in entry] == [1, 2, 3]
    assert [entry.offset for entry in aside] == [2]


def test_what_was_set_aside_is_held_back_again_when_the_log_could_not_be_read() -> None:
    channel = opened()
    channel.receive(publication(2))
    aside = channel.set_aside()
    channel.receive(publication(3))
    channel.put_back(aside)
    channel.fill([publication(1)], Position("a", 1))
    channel.caught_up()
    assert [item.position.offset for item in channel.pending] == [1, 2, 3]


def test_nobody_is_removed_twice() -> None:
    channel, member = opened(), FakeConnection()
    add(channel, member)
    remove(channel, member)
    remove(channel, member)
    assert not channel.members
    assert member not in (channel.left or ())
