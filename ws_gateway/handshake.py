"""The WebSocket handshake (RFC 6455, section 4.2): a request's head in, what to answer out. Pure.

llhttp reads the head: wsproto's reader takes ten times as long, which is what bounds a storm of
clients that come back. Also decides what is a handshake at all: everything else on this port is
plain HTTP.
"""

import base64
import binascii
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import httptools
from wsproto.utilities import generate_accept_token

from common.problems import Problem

HEAD_MAX_BYTES: Final = 16 * 1024
_KEY_BYTES: Final = 16
_ONCE: Final = frozenset(
    (b"host", b"content-length", b"sec-websocket-key", b"sec-websocket-version")
)
"""Fields that a handshake may have once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes to write, and whether the connection is a WebSocket from here on.

    `token` is the user token that came along, `origin` what a browser says of the page.
    """

    data: bytes
    accepted: bool
    token: str | None = field(default=None, repr=False)
    origin: str | None = None


def is_upgrade(head: bytes) -> bool:
    """Whether a head asks for a WebSocket."""
    lower = head.lower()
    start = lower.find(b"\nupgrade:")
    return start >= 0 and b"websocket" in lower[start : lower.find(b"\r\n", start + 1)]


def refusal(status: HTTPStatus, code: str, detail: str, *extra: str) -> bytes:
    """A refused handshake: problem document, connection closed."""
    problem = Problem(status, code, detail)
    body = problem.body()
    lines = [
        f"HTTP/1.1 {int(status)} {status.phrase}",
        *(f"{name}: {value}" for name, value in problem.response_headers().items()),
        *extra,
        f"Content-Length: {len(body)}",
        "Connection: close",
        "",
        "",
    ]
    return "\r\n".join(lines).encode("latin-1") + body


def _bad(detail: str) -> Answer:
    return Answer(refusal(HTTPStatus.BAD_REQUEST, "bad-handshake", detail), accepted=False)


class Head:
    """What llhttp tells of a request's head; lists are joined (RFC 9110, section 5.3)."""

    __slots__ = ("complete", "fields", "repeated", "target")

    def __init__(self) -> None:
        self.target = b""
        self.fields: dict[bytes, bytes] = {}
        self.repeated = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        name = name.lower()
        before = self.fields.get(name)
        if before is not None:
            value = before + b", " + value
            if name in _ONCE:
                self.repeated = name
        self.fields[name] = value

    def on_headers_complete(self) -> None:
        """See httptools."""
        self.complete = True

    @property
    def query(self) -> str:
        """What follows the `?`, still percent-encoded."""
        return self.target.partition(b"?")[2].decode("ascii")

    def field(self, name: str) -> str | None:
        """Value of a field, by its name in lower case."""
        value = self.fields.get(name.encode())
        return None if value is None else value.decode("ascii")


def read_head(head: bytes) -> Head:
    """Read the head of a plain GET.

    Raises:
        ValueError: it is not HTTP/1.1; the text says why.
    """
    read = Head()
    parser = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        raise ValueError(f"not HTTP/1.1: {error}") from None
    if not read.complete or parser.get_http_version() != "1.1":
        raise ValueError("only HTTP/1.1 is spoken")
    return read


def answer_upgrade(head: bytes) -> Answer:
    """Answer a handshake.

    Args:
        head: the request's head, up to and with the empty line.
    """
    read = Head()
    parser = httptools.HttpRequestParser(read)
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        return _bad(f"not HTTP/1.1: {error}")
    if not read.complete or parser.get_http_version() != "1.1" or parser.get_method() != b"GET":
        return _bad("a handshake is a GET of HTTP/1.1")
    fault = _fault(read)
    if fault:
        return _bad(fault)
    if read.fields.get(b"sec-websocket-version") != b"13":
        return Answer(
            refusal(
                HTTPStatus.UPGRADE_REQUIRED,
                "bad-handshake",
                "only WebSocket version 13 is spoken",
                "Sec-WebSocket-Version: 13",
            ),
            accepted=False,
        )
    if read.target.partition(b"?")[0] != b"/":
        return Answer(
            refusal(HTTPStatus.NOT_FOUND, "not-found", "WebSocket is at /"), accepted=False
        )
    try:
        token = token_of(read)
    except ValueError as error:
        return unauthorized(str(error))
    accept = generate_accept_token(read.fields[b"sec-websocket-key"])
    protocol = _PROTOCOL_CHOSEN if SUBPROTOCOL in _protocols(read) else b""
    return Answer(
        _ACCEPTED % (protocol, accept), accepted=True, token=token, origin=read.field("origin")
    )


SUBPROTOCOL: Final = b"roomcast"
"""What a browser names beside its token, so that one of both can be answered."""
_TOKEN_PROTOCOL: Final = b"bearer."
_PROTOCOL_CHOSEN: Final = b"Sec-WebSocket-Protocol: %b\r\n" % SUBPROTOCOL
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: WebSocket\r\n"
    b"Connection: Upgrade\r\n"
    b"%bSec-WebSocket-Accept: %b\r\n\r\n"
)


def unauthorized(detail: str) -> Answer:
    """Refusal of a request whose credentials are wrong."""
    challenge = 'WWW-Authenticate: Bearer realm="roomcast"'
    data = refusal(HTTPStatus.UNAUTHORIZED, "unauthorized", detail, challenge)
    return Answer(data, accepted=False)


def _protocols(head: Head) -> list[bytes]:
    listed = head.fields.get(b"sec-websocket-protocol")
    return [] if listed is None else [one.strip() for one in listed.split(b",")]


def token_of(head: Head) -> str | None:
    """User token in the Authorization header or, for browsers, in a subprotocol `bearer.<token>`.

    Raises:
        ValueError: there are several, or something else; the text says which.
    """
    found = [
        one[len(_TOKEN_PROTOCOL) :] for one in _protocols(head) if one.startswith(_TOKEN_PROTOCOL)
    ]
    authorization = head.fields.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            raise ValueError("Authorization must be Bearer, with a user token")
        found.append(token.strip())
    if len(found) > 1:
        raise ValueError("a token is there more than once")
    return found[0].decode("ascii", "replace") if found else None


def _fault(head: Head) -> str | None:
    fields = head.fields
    if head.repeated:
        return f"{head.repeated.decode()} may be there once"
    if b"host" not in fields:
        return "Host is missing"
    if b"transfer-encoding" in fields or fields.get(b"content-length", b"0") != b"0":
        return "a handshake has no body"
    if not _names(fields, b"upgrade", b"websocket") or not _names(
        fields, b"connection", b"upgrade"
    ):
        return "not a WebSocket handshake"
    try:
        key = base64.b64decode(fields.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        key = b""
    return None if len(key) == _KEY_BYTES else "Sec-WebSocket-Key must be 16 bytes in base64"


def _names(fields: dict[bytes, bytes], field: bytes, token: bytes) -> bool:
    """Whether a list of tokens has one, in whatever case."""
    return token in [one.strip() for one in fields.get(field, b"").lower().split(b",")]
