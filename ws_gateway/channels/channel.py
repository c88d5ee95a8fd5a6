"""One channel at one gateway: who hears it, where it stands, what waits to be sent. No I/O.

Guarantee: publications are queued in the order of their offsets, each once. If one doesn't follow
on the last (pub/sub dropped something), the channel is `BEHIND`: later ones are held back until the
log has filled the gap.

Most connections have a channel of their own, their user's, which is nearly always quiet. A quiet
channel has no containers but an empty list: an empty deque takes 760 bytes, an empty set 216.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from common.model.publication import Position, Publication
from ws_gateway.channels.member import Member
from ws_gateway.channels.pending import JoinedWrite, Pending
from ws_gateway.protocol.messages import reset_text

HELD_BACK_MAX: Final = 1_000
"""Publications kept while a gap is filled; past it they are dropped, and filled in from the log."""

JOIN_MAX_BYTES: Final = 256 * 1024
"""Most bytes of publications joined into one write."""


class State(Enum):
    """State of a channel's position in this gateway."""

    OPENING = auto()
    """Subscribed or about to be; the position is being read."""
    LIVE = auto()
    """Every publication so far was queued."""
    BEHIND = auto()
    """Something is missing; the log is being read."""


class Channel:
    """State of one channel.

    `position` is that of the last publication queued, `handed` that of the last one which began
    to be sent: it is where a connection stands that is added now.
    """

    __slots__ = (
        "_held_back",
        "_snapshot",
        "empty_since",
        "ended",
        "handed",
        "label",
        "left",
        "members",
        "name",
        "pending",
        "pending_bytes",
        "position",
        "queued",
        "sending",
        "state",
        "waiters",
    )

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        """Scoped name, as in keys: `default/room:1`."""
        self.label = label
        """Name in messages to connections: `room:1`."""
        self.members: dict[Member, None] = {}
        self.state = State.OPENING
        self.position = self.handed = Position("", 0)
        self.ended = Position("", 0)
        """End of the previous epoch, as seen by this gateway."""
        self.pending: list[Pending] = []
        self.pending_bytes = 0
        self.queued = False
        """In the fan-out's queue of channels that are due."""
        self.sending = False
        """A pass over its members is under way."""
        self.left: set[Member] | None = None
        """Members to skip in the rest of the pass: they left, or got it from the log."""
        self.waiters: list[Callable[[], None]] | None = None
        """Called when the channel becomes live for the first time."""
        self.empty_since: float | None = None
        self._held_back: deque[Publication] | None = None
        self._snapshot: tuple[Member, ...] | None = None

    def add(self, connection: Member) -> None:
        """Let a connection hear what begins to be sent from now on."""
        self.members[connection] = None
        self._snapshot = None
        self.empty_since = None

    def remove(self, connection: Member) -> None:
        """Let a connection hear nothing more, not even the rest of a pass."""
        if self.members.pop(connection, self) is self:
            return
        self._snapshot = None
        self.pass_by(connection)

    def pass_by(self, connection: Member) -> None:
        """Leave a connection out of the rest of the pass, if one is under way."""
        if self.sending:
            if self.left is None:
                self.left = set()
            self.left.add(connection)

    @property
    def is_quiet(self) -> bool:
        """True if nothing is waiting, being sent or missing."""
        return self.state is State.LIVE and not self.sending and not self.pending

    @property
    def snapshot(self) -> tuple[Member, ...]:
        """Members now, for a pass during which others may join and leave."""
        if self._snapshot is None:
            self._snapshot = tuple(self.members)
        return self._snapshot

    def open_at(self, position: Position) -> bool:
        """Begin at a position that was read after the subscription was confirmed.

        Returns:
            Whether something that arrived in the meantime was queued.
        """
        self.state = State.LIVE
        self.position = self.handed = position
        return self._release()

    def adopt(self, position: Position, before: str) -> bool:
        """Take a new epoch over if nothing was ever published in either, and queue word of it.

        Args:
            position: where Redis says that the channel is.
            before: the epoch before that one; if it isn't the one here, something may be lost.

        Returns:
            Whether it was taken over.
        """
        mine = self.position
        if self.state is not State.LIVE or mine.offset or position.offset or mine.epoch != before:
            return False
        self._reset(position, recovered=True)
        self._move(position)
        return True

    def receive(self, publication: Publication) -> bool:
        """Take a live publication.

        Returns:
            Whether it was queued to be sent. If not, it is known already or was held back: look
            at `state`.
        """
        if self.state is not State.LIVE:
            self._hold_back(publication)
            return False
        if publication.follows(self.position):
            if publication.epoch != self.position.epoch:
                self._reset(Position(publication.epoch, self.position.offset), recovered=True)
            self._queue(publication)
            return True
        if not publication.is_known_at(self.position):
            self.state = State.BEHIND
            self._hold_back(publication)
        return False

    def set_aside(self) -> deque[Publication]:
        """Take what is held back, before the log is read: the log has all of it.

        Were it looked at again behind the log, what is left of an epoch that has ended would
        never fit, and the channel would be `BEHIND` for good.
        """
        aside, self._held_back = self._held_back, None
        return _held_back() if aside is None else aside

    def put_back(self, aside: deque[Publication]) -> None:
        """Hold back again what was set aside: the log could not be read."""
        aside.extend(self._held_back or ())
        self._held_back = aside

    def fill(self, publications: list[Publication], now: Position, *, exact: bool = True) -> int:
        """Take what the log holds after `position`.

        Args:
            publications: without a hole among them. Those of the epoch before that were seen here
                are left out: a Redis that lost the beginning of this epoch goes back into that one.
            now: the channel's position when the log was read; taken over if there are none.
            exact: whether they directly follow `position`; if not, members are notified of the gap.

        Returns:
            How many were queued.
        """
        queued = 0
        at, ended = self.position, self.ended
        for publication in publications:
            if publication.is_known_at(self.position) or publication.is_known_at(ended):
                continue
            before = Position(publication.epoch, publication.offset - 1)
            if not (queued or exact):
                self._reset(before, recovered=False)
            elif publication.epoch != self.position.epoch:
                self._reset(before, recovered=True)
            self._queue(publication)
            queued += 1
        if not queued:
            if not publications:
                if not exact or now.epoch != at.epoch:
                    self._reset(now, recovered=exact)
                self._move(now)
            elif publications[-1].epoch != at.epoch:
                self._reset(ended, recovered=False)
                self._move(ended)
            if not self.pending:
                self.handed = self.position
        return queued

    def caught_up(self) -> bool:
        """Go live again with what was held back.

        Returns:
            Whether something of it was queued; the channel may be `BEHIND` again.
        """
        self.state = State.LIVE
        return self._release()

    def take_join(self) -> JoinedWrite:
        """Take what goes out in one write, and move `handed` on."""
        size = count = 0
        for item in self.pending:
            if count and size + len(item.text) > JOIN_MAX_BYTES:
                break
            size += len(item.text)
            count += 1
        taken, self.pending = self.pending[:count], self.pending[count:]
        self.pending_bytes -= size
        before, self.handed = self.handed, taken[-1].position
        return JoinedWrite(before, taken)

    def _hold_back(self, publication: Publication) -> None:
        if self._held_back is None:
            self._held_back = _held_back()
        self._held_back.append(publication)

    def _queue(self, publication: Publication) -> None:
        self._move(Position(publication.epoch, publication.offset))
        self.pending.append(Pending(publication.text, self.position, publication.accepted_ms))
        self.pending_bytes += len(publication.text)

    def _reset(self, position: Position, *, recovered: bool) -> None:
        """Tell members from which position on they hear the channel."""
        text = reset_text(self.label, position, recovered=recovered)
        self.pending.append(Pending(text, position, 0))
        self.pending_bytes += len(text)

    def _move(self, position: Position) -> None:
        if position.epoch != self.position.epoch:
            self.ended = self.position
        self.position = position

    def _release(self) -> bool:
        held_back, self._held_back = self._held_back, None
        queued = False
        for publication in held_back or ():
            queued = self.receive(publication) or queued
        return queued


def _held_back() -> deque[Publication]:
    return deque(maxlen=HELD_BACK_MAX)
