"""Close codes of the socket, and what each tells the other end to do.

Codes from 4000 to 4499 mean: come back (after a jittered wait). Codes from 4500 mean: do not come
back unchanged, the other end is at fault. It is the convention of Centrifugo's protocol.
"""

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Reason for closing a connection. The value is the WebSocket close code (RFC 6455, 7.4)."""

    NORMAL = 1000
    PROTOCOL_ERROR = 1002
    NOT_TEXT = 1007
    TOO_LARGE = 1009
    RESTARTING = 1012
    SLOW_CONNECTION = 4001
    NO_PONG = 4002
    NOT_REGISTERED = 4501
    TOO_MANY_FRAMES = 4502
    TOKEN_EXPIRED = 4503
    CLIENT_DISABLED = 4504
    TOO_MANY_CONNECTIONS = 4505
    USER_DELETED = 4506
    TICKET_NOT_ACCEPTED = 4507

    @property
    def come_back(self) -> bool:
        """True if the other end should reconnect without changing anything."""
        return self in (CloseCode.RESTARTING, CloseCode.SLOW_CONNECTION, CloseCode.NO_PONG)


REASONS: Final[dict[int, str]] = {
    CloseCode.NORMAL: "bye",
    CloseCode.PROTOCOL_ERROR: "not a WebSocket frame",
    CloseCode.NOT_TEXT: "text is not UTF-8",
    CloseCode.TOO_LARGE: "message too large",
    CloseCode.RESTARTING: "gateway restarts, come back",
    CloseCode.SLOW_CONNECTION: "answers not read, come back",
    CloseCode.NO_PONG: "ping not answered, come back",
    CloseCode.NOT_REGISTERED: "not registered in time",
    CloseCode.TOO_MANY_FRAMES: "too many messages",
    CloseCode.TOKEN_EXPIRED: "token expired, come back with another",
    CloseCode.CLIENT_DISABLED: "client application disabled",
    CloseCode.TOO_MANY_CONNECTIONS: "too many connections of this client application",
    CloseCode.USER_DELETED: "user deleted",
    CloseCode.TICKET_NOT_ACCEPTED: "ticket not accepted, come back with another",
}
"""Text sent with each code."""
