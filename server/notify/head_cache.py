"""Heads of plain `POST /notify` requests, each parsed once.

Whoever sends notifications sends nearly the same head each time, so the same bytes are known from
before. Only heads that can be served here are kept, and parsing depends on nothing but the bytes.
"""

from typing import Final

from common.model.problems import Problem
from common.web.request_head import RequestHead, check_beginning, read_head
from server.web.bodies import BODY_MAX_BYTES

_START: Final = b"POST /notify HTTP/1.1\r\n"
KNOWN_MAX_BYTES: Final = 4 * 1024
KNOWN_MAX: Final = 512
"""Heads that are kept; past it all are forgotten, as those with a new `Idempotency-Key` each are
never seen again. At most 2 MiB of them, by `KNOWN_MAX_BYTES`."""
_OTHER_FORMS: Final = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", b"origin"}
)


class Head:
    """What a plain head says."""

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
    """Reads heads; one for all connections."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, unread: bytes, at: int, ends: int) -> Head | None:
        """What a head says; None if it is not that of a plain `POST /notify` with a whole body.

        Args:
            unread: what came.
            at: where in it the head begins.
            ends: where it ends, with the empty line.
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
        # A body that has not come whole is aiohttp's to wait for.
        return head if head.length <= min(BODY_MAX_BYTES, len(unread) - ends) else None


def may_be_plain(beginning: bytes) -> bool:
    """Whether what came of a head may become that of a plain `POST /notify`."""
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
        # The other way in reads it again, and says why.
        return None
    connection = read.fields.get(b"connection", b"keep-alive")
    is_plain = (
        _OTHER_FORMS.isdisjoint(read.fields)
        and b"content-length" in read.fields
        and connection.lower() == b"keep-alive"
    )
    return Head(read) if is_plain else None
