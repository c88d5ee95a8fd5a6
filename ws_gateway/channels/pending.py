"""Publications on their way to the members of a channel, as text until a transport frames them."""

from typing import NamedTuple

from common.model.publication import Position
from ws_gateway.protocol.frames import text_frame, text_frames


class Pending(NamedTuple):
    """A text that waits to be sent, and where the channel stands behind it.

    `accepted_ms` is the Unix time (ms) of a publication's acceptance, 0 for a `reset`.
    """

    text: bytes
    position: Position
    accepted_ms: int

    @property
    def is_reset(self) -> bool:
        """True if it tells from which position on the channel goes on, and is no publication."""
        return not self.accepted_ms


class JoinedWrite:
    """Texts of one channel that go out to a member in one write.

    Args:
        before: where the channel stood before them.
        items: in order.
    """

    __slots__ = ("_frames", "before", "items")

    def __init__(self, before: Position, items: list[Pending]) -> None:
        self.before = before
        self.items = items
        self._frames: bytes | None = None

    @property
    def frames(self) -> bytes:
        """The same as WebSocket frames, built once, for all members."""
        if self._frames is None:
            items = self.items
            self._frames = (
                text_frame(items[0].text)
                if len(items) == 1
                else text_frames([item.text for item in items])
            )
        return self._frames
