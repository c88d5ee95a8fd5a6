"""Members of channels, as channels see them, and channels as their members see them.

Channels and what writes to their members know nothing of sockets, handshakes or users. Both
protocols are structural: the classes behind them don't name them, and keep their slots.
"""

from typing import Protocol

from common.model.publication import Position
from ws_gateway.channels.pending import JoinedWrite
from ws_gateway.protocol.close_codes import CloseCode


class Member(Protocol):
    """A connection that hears channels."""

    fd: int
    """Its socket, to which the fan-out may write while it is `clear`."""
    clear: bool
    """True while nothing waits in its transport and it may be written to directly."""
    choked: bool
    """True while its transport holds much that the other end did not read."""
    closing_since: float | None
    """Time at which it began to close, by the gateway's clock; None while it is open."""
    behind: "dict[HeardChannel, Position] | None"
    """Channels whose fan-out passes it by, with the position that it has reached there."""

    @property
    def id(self) -> str:
        """Its name, in answers and receipts."""

    def write_rest(self, data: bytes | memoryview) -> None:
        """Write what its socket did not take."""

    def deliver(self, channel: "HeardChannel", joined: JoinedWrite) -> bool:
        """Take its part of a pass; return whether it was written to."""

    def write_joined(self, channel: "HeardChannel", joined: JoinedWrite) -> None:
        """Write what it missed of a channel, out of the fan-out's way."""

    def catch_up_with(self, channel: "HeardChannel") -> None:
        """Hear a channel live again."""

    def send(self, payload: bytes) -> None:
        """Send one text message."""

    def close(self, code: CloseCode) -> None:
        """Close with a code, once."""

    def abort(self) -> None:
        """Drop the connection without ado."""


class HeardChannel(Protocol):
    """A channel that a member hears; its attributes are those of `Channel`."""

    name: str
    label: str
    handed: Position
    ended: Position

    def pass_by(self, connection: Member) -> None:
        """Leave a connection out of the rest of the pass, if one is under way."""
