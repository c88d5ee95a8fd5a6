"""Cache of parsed heads of plain `POST /notify` requests.

A client that sends notifications sends the same head nearly every time, so its bytes are often
known. Only heads that can be served here are kept, and parsing depends on nothing but the bytes.
"""

from typing import Final

from common.model.problems import Problem
from common.web.request_head import RequestHead, check_beginning, read_head
from server.web.bodies import BODY_MAX_BYTES

_START: Final = b"POST /notify HTTP/1.1\r\n"
KNOWN_MAX_BYTES: Final = 4 * 1024
KNOWN_MAX: Final = 512
"""Most heads that are kept; past it all are forgotten, as heads with an `Idempotency-Key` each are
never seen again. At most 2 MiB of them, by `KNOWN_MAX_BYTES`."""
_OTHER_FORMS: Final = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"origin"}
)


class Head:
    """Fields of a plain head."""

    __slots__ = (
        "api_key", "authorization", "content_type", "forwarded_for", "idempotency_key", "length",
    )  # fmt: skip

    def __init__(self, read: RequestHead) -> None:
        field = read.field
        self.content_type = field(b"content-type")
        self.idempotency_key = field(b"idempotency-key")
        self.authorization = field(b"authorization")
        self.api_key = field(b"x-api-key")
        self.forwarded_for = field(b"x-forwarded-for")
        self.length = read.length


class HeadReader:
    """Reader of heads, one for all connections."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, unread: bytes, at: int, ends: int) -> Head | None:
        """Parse a head; None if it is not one of a plain `POST /notify` with a whole body.

        Args:
            unread: the received bytes.
            at: offset of the head in them.
            ends: offset of its end, after the empty line.
        """
        data = unread[at:ends]
        head = self._known.get(data)
        if head is None:
            head = _parse(data)
            if head is None:
                return None
            if len(data) <= KNOWN_MAX_BYTES:
                if len(self._known) >= KNOWN_MAX:
                    self._known.clear()
                self._known[data] = head
        # aiohttp waits for a body that has not arrived completely.
        return head if head.length <= min(BODY_MAX_BYTES, len(unread) - ends) else None


def may_be_plain(beginning: bytes) -> bool:
    """Return True if the beginning of a head may be that of a plain `POST /notify`."""
    if not beginning.startswith(_START[: len(beginning)]):
        return False
    try:
        check_beginning(beginning)
    except Problem:
        return False
    return True


def _parse(data: bytes) -> Head | None:
    if not data.startswith(_START):
        return None
    try:
        read = read_head(data)
    except Problem:
        # aiohttp's connection reads it again, and says why.
        return None
    connection = read.fields.get(b"connection", b"keep-alive")
    is_plain = (
        _OTHER_FORMS.isdisjoint(read.fields)
        and b"content-length" in read.fields
        and connection.lower() == b"keep-alive"
    )
    return Head(read) if is_plain else None
