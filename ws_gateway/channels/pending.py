"""Publications on their way from a channel to its members."""

from typing import NamedTuple

from common.model.publication import Position


class Pending(NamedTuple):
    """A frame that waits to be sent, and where the channel stands behind it.

    `accepted_ms` is the Unix time (ms) of a publication's acceptance, 0 for a `reset`.
    """

    frame: bytes
    position: Position
    accepted_ms: int


class JoinedWrite(NamedTuple):
    """Frames that go out to a member in one write.

    `before` is where the channel stood before them.
    """

    before: Position
    items: list[Pending]
    data: bytes
