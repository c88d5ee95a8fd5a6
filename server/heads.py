"""Heads of plain `POST /notify` requests, each parsed once.

Whoever sends notifications sends nearly the same head each time, so the same bytes are known from
before. Only heads that can be served here are kept, and parsing depends on nothing but the bytes.
"""

from typing import Final

import httptools

from server.intake import BODY_MAX_BYTES

_START: Final = b"POST /notify HTTP/1.1\r\n"
HEAD_MAX_BYTES: Final = 8 * 1024
KNOWN_MAX: Final = 512
"""Heads that are kept; past it all are forgotten, as those with a new `Idempotency-Key` each are
never seen again. At most 4 MiB of them, by `HEAD_MAX_BYTES`."""
_OTHER_FORMS: Final = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"connection", b"content-encoding", b"origin"}
)


class Head:
    """What a head says. `plain` is whether a request with it is of the plain form."""

    __slots__ = (
        "api_key", "authorization", "complete", "content_type", "forwarded_for", "idempotency_key",
        "length", "plain",
    )  # fmt: skip

    def __init__(self) -> None:
        self.content_type: str | None = None
        self.idempotency_key: str | None = None
        self.authorization: str | None = None
        self.api_key: str | None = None
        self.forwarded_for: str | None = None
        self.length = -1
        self.plain = True
        self.complete = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, as llhttp's callback."""
        lower = name.lower()
        if lower == b"content-length":
            # llhttp has refused what is no number, and a second one that differs.
            self.length = int(value)
        elif lower == b"content-type":
            self.plain = self.plain and self.content_type is None
            self.content_type = value.decode("latin-1")
        elif lower == b"idempotency-key":
            self.plain = self.plain and self.idempotency_key is None
            self.idempotency_key = value.decode("utf-8", "surrogateescape")
        elif lower == b"authorization":
            self.plain = self.plain and self.authorization is None
            self.authorization = value.decode("utf-8", "surrogateescape")
        elif lower == b"x-api-key":
            self.plain = self.plain and self.api_key is None
            self.api_key = value.decode("utf-8", "surrogateescape")
        elif lower == b"x-forwarded-for":
            before = f"{self.forwarded_for}," if self.forwarded_for else ""
            self.forwarded_for = before + value.decode("latin-1")
        elif lower in _OTHER_FORMS and not (
            lower == b"connection" and value.lower() == b"keep-alive"
        ):
            self.plain = False

    def on_headers_complete(self) -> None:
        """Note that the head is whole, as llhttp's callback."""
        self.complete = True


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
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[data] = head
        # A body that has not come whole is aiohttp's to wait for.
        return head if head.length <= min(BODY_MAX_BYTES, len(unread) - ends) else None


def _parse(data: bytes) -> Head | None:
    if not data.startswith(_START):
        return None
    head = Head()
    try:
        httptools.HttpRequestParser(head).feed_data(data)
    except httptools.HttpParserError:
        return None
    return head if head.complete and head.length >= 0 and head.plain else None
