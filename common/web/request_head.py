"""Heads of HTTP/1.1 requests, read by one function on every port.

llhttp parses them strictly. What RFC 9112 leaves to the server, and what a proxy could read
differently, is decided here: versions, repeated fields, `Host`, transfer codings.
"""

import re
from typing import Final

import httptools

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem

HEAD_MAX_BYTES: Final = 16 * 1024
FIELDS_MAX: Final = 128
HEAD_TIMEOUT_S: Final = 10.0
IDLE_TIMEOUT_S: Final = 75.0
END: Final = b"\r\n\r\n"
ONCE: Final = frozenset(
    {
        b"host", b"content-length", b"content-type", b"transfer-encoding", b"authorization",
        b"x-api-key", b"idempotency-key", b"last-event-id", b"sec-websocket-key",
        b"sec-websocket-version",
    }
)  # fmt: skip
"""Fields that a request may have only once; of two, a proxy may have checked the other one."""
_BLANKS: Final = b" \t"
_HOST: Final = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=:%\[\]-]*")
_ALONE: Final = re.compile(rb"(?<!\r)\n")
_TRAILING: Final = re.compile(rb"(?<=[^\r\n \t])[ \t]+(?=\r\n)")
_STARTS: Final = frozenset(b"\r\nABCDEFGHIJKLMNOPQRSTUVWXYZ")
_VERSIONS: Final = (b" HTTP/1.1", b" HTTP/1.0")


class RequestHead:
    """Parsed head of a request.

    `fields` has the values by their names in lower case, without blanks around them, those of
    several lines joined by commas (RFC 9110, section 5.3); `lines` has every line, in order.
    """

    __slots__ = ("complete", "fields", "lines", "method", "repeated", "target", "version")

    def __init__(self) -> None:
        self.method = ""
        self.target = ""
        self.version = (1, 1)
        self.fields: dict[bytes, bytes] = {}
        self.lines: list[tuple[bytes, bytes]] = []
        self.repeated = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self.target += url.decode("ascii")

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self.lines.append((name, value))
        name = name.lower()
        fields = self.fields
        if name in fields:
            value = fields[name] + b", " + value
            if name in ONCE:
                self.repeated = name
        fields[name] = value

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.complete = True

    def field(self, name: bytes) -> str | None:
        """Return the value of a field, by its name in lower case; see `text_of`."""
        value = self.fields.get(name)
        return None if value is None else value.decode("utf-8", "surrogateescape")

    def names(self, name: bytes, token: bytes) -> bool:
        """Return True if a field is a list that contains a token, in any case."""
        value = self.fields.get(name)
        return value is not None and token in [
            one.strip(_BLANKS) for one in value.lower().split(b",")
        ]

    @property
    def query(self) -> str:
        """Query string after the `?`, still percent-encoded."""
        return self.target.partition("?")[2]

    @property
    def is_chunked(self) -> bool:
        """True if a body in chunks follows."""
        return b"transfer-encoding" in self.fields

    @property
    def length(self) -> int:
        """Size in bytes of the body that follows, if it is not in chunks."""
        # llhttp has refused anything but a number.
        return int(self.fields.get(b"content-length", b"0"))

    @property
    def keeps_alive(self) -> bool:
        """True if another request may follow on the connection."""
        if self.names(b"connection", b"close"):
            return False
        return self.version == (1, 1) or self.names(b"connection", b"keep-alive")


def text_of(value: bytes) -> str:
    """Decode the value of a field; bytes that are not UTF-8 become surrogates."""
    return value.decode("utf-8", "surrogateescape")


def bad_head(detail: str) -> Problem:
    """Make the refusal of a malformed request; the connection can't be used any more."""
    return Problem(ProblemCode.NOT_HTTP, detail)


def too_large_head() -> Problem:
    """Make the refusal of a head over `HEAD_MAX_BYTES` or `FIELDS_MAX`."""
    return Problem(
        ProblemCode.HEAD_TOO_LARGE,
        f"a head may have {HEAD_MAX_BYTES} bytes and {FIELDS_MAX} fields",
    )


def late_head() -> Problem:
    """Make the refusal of a head that took longer than `HEAD_TIMEOUT_S`."""
    return Problem(ProblemCode.REQUEST_TIMEOUT, "the head did not come in time")


def check_beginning(data: bytes) -> None:
    """Refuse the beginning of a head if nothing after it could make it valid.

    Raises:
        Problem: 400 or 431.
    """
    if len(data) >= HEAD_MAX_BYTES:
        raise too_large_head()
    if data and data[0] not in _STARTS:
        raise bad_head("a request begins with a method")
    if _ALONE.search(data):
        raise bad_head("lines end with CR and LF")


def read_head(data: bytes) -> RequestHead:
    """Parse a head.

    Args:
        data: the head, up to and including the empty line.

    Raises:
        Problem: 400 or 431; see `bad_head`.
    """
    if len(data) > HEAD_MAX_BYTES:
        raise too_large_head()
    if data.startswith(b"\r\n"):
        # Old programs may send one after a body (RFC 9112, section 2.2).
        data = data[2:]
    start = data[: data.find(b"\r\n")]
    if b" \r\n" in data or b"\t\r\n" in data:
        # llhttp refuses blanks behind some values (RFC 9110, section 5.5).
        data = start + _TRAILING.sub(b"", data[len(start) :])
    head = RequestHead()
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise bad_head(f"not HTTP/1.1: {error}") from None
    if not head.complete:
        raise bad_head("not HTTP/1.1")
    if not start.endswith(_VERSIONS):
        raise bad_head("only HTTP/1.1 is spoken, and HTTP/1.0")
    head.method = parser.get_method().decode("ascii")
    if start.endswith(b"0"):
        head.version = (1, 0)
    _check(head)
    return head


def _check(head: RequestHead) -> None:
    fields = head.fields
    if len(head.lines) > FIELDS_MAX:
        raise too_large_head()
    if head.repeated:
        raise Problem(
            ProblemCode.REPEATED_HEADER,
            f"{head.repeated.decode('ascii')} may be there once",
        )
    host = fields.get(b"host")
    if host is None:
        if head.version == (1, 1):
            raise bad_head("Host is missing")
    elif not _HOST.fullmatch(host):
        raise bad_head("Host is no host")
    coding = fields.get(b"transfer-encoding")
    if coding is not None and (coding.lower() != b"chunked" or head.version != (1, 1)):
        raise bad_head("of transfer codings only chunked is spoken, in HTTP/1.1")
    if head.method == "CONNECT":
        raise bad_head("this is no proxy")
