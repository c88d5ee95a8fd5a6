"""What stands in for sockets and the event loop where only decisions are tested."""

import itertools
from collections.abc import Callable
from math import inf
from typing import Any, ClassVar
from weakref import WeakValueDictionary

from websockets.frames import Frame
from websockets.protocol import Protocol, Side, State

from common.model.publication import Position
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.member import HeardChannel, Member
from ws_gateway.channels.pending import JoinedWrite, Pending
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.frames import text_frame

_fds = itertools.count(1_000_000)


class FakeConnection:
    """A member of channels that keeps what is written to it.

    Its socket takes at most `room` bytes of each write.
    """

    by_fd: ClassVar[WeakValueDictionary[int, "FakeConnection"]] = WeakValueDictionary()

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.fd = next(_fds)
        self.by_fd[self.fd] = self
        self.clear = True
        self.choked = False
        self.closing_since: float | None = None
        self.closed_with: CloseCode | None = None
        self.behind: dict[HeardChannel, Position] | None = None
        self.cut_off = False
        self.room: float = inf
        self.writes: list[bytes] = []

    def write_rest(self, data: bytes | memoryview) -> None:
        self.clear = False
        self.writes.append(bytes(data))

    def deliver(self, channel: HeardChannel, joined: JoinedWrite) -> bool:
        if not self.cut_off:
            self.writes.append(joined.frames)
        return not self.cut_off

    def write_joined(self, channel: HeardChannel, joined: JoinedWrite) -> None:
        self.writes.append(joined.frames)

    def catch_up_with(self, channel: HeardChannel) -> None:
        assert self.behind is not None
        del self.behind[channel]
        channel.pass_by(self)

    def send(self, payload: bytes) -> None:
        self.writes.append(text_frame(payload))

    def close(self, code: CloseCode) -> None:
        self.closing_since, self.closed_with = 0.0, code

    def abort(self) -> None:
        self.cut_off = True

    @property
    def id(self) -> str:
        return self.name

    @property
    def texts(self) -> list[bytes]:
        client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        client.receive_data(b"".join(self.writes))
        return [bytes(event.data) for event in client.events_received() if isinstance(event, Frame)]


def unwritten(channel: Channel, items: list[Pending], written: int) -> None:
    """Nobody counts."""


def add(channel: Channel, connection: Member) -> None:
    channel.add(connection)


def remove(channel: Channel, connection: Member) -> None:
    channel.remove(connection)


def send(fd: int, data: bytes) -> int:
    """Write to a connection's socket, as `os.write` does."""
    connection = FakeConnection.by_fd[fd]
    assert connection.clear
    assert not connection.cut_off
    if not connection.room:
        raise BlockingIOError
    taken = data if len(data) <= connection.room else data[: int(connection.room)]
    connection.writes.append(taken)
    return len(taken)


class FakeLoop:
    """Runs what is scheduled when told to."""

    def __init__(self) -> None:
        self.scheduled: list[Callable[[], object]] = []

    def call_soon(self, callback: Callable[..., object], *args: Any) -> None:
        self.scheduled.append(lambda: callback(*args))

    def turn(self) -> bool:
        """Run what is due now; whether there was anything."""
        due, self.scheduled = self.scheduled, []
        for callback in due:
            callback()
        return bool(due)

    def run(self) -> None:
        while self.turn():
            pass
