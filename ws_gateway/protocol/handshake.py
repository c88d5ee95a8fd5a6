"""The WebSocket handshake (RFC 6455, section 4.2): a request's head in, what to answer out. Pure.

Also decides what is a handshake at all: everything else on this port is plain HTTP.
"""

import base64
import binascii
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from wsproto.utilities import generate_accept_token

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem, closing_answer
from common.web.request_head import RequestHead

_KEY_BYTES: Final = 16
_TICKET: Final = "ticket"


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes to write, and whether the connection is a WebSocket from here on.

    `token` is the user token that came along, `ticket` what the URL has in its place, `origin` what
    a browser says of the page.
    """

    data: bytes
    accepted: bool
    token: str | None = field(default=None, repr=False)
    origin: str | None = None
    ticket: str | None = field(default=None, repr=False)


def is_upgrade(head: RequestHead) -> bool:
    """Return whether a head asks for a WebSocket; others are ignored (RFC 9110, section 7.8)."""
    return head.names(b"upgrade", b"websocket")


def refusal(code: ProblemCode, detail: str, *extra: str, status: HTTPStatus | None = None) -> bytes:
    """Make the answer to a refused handshake: problem document, connection closed.

    Args:
        code: of the problem.
        detail: the same for people.
        extra: more lines of the head.
        status: another status than the code's usual one.
    """
    return closing_answer(Problem(code, detail, other_status=status), *extra)


def _bad(detail: str) -> Answer:
    return Answer(refusal(ProblemCode.BAD_HANDSHAKE, detail), accepted=False)


def answer_upgrade(read: RequestHead) -> Answer:
    """Answer a handshake.

    Args:
        read: the request's head.
    """
    if read.version != (1, 1) or read.method != "GET":
        return _bad("a handshake is a GET of HTTP/1.1")
    fault = _fault(read)
    if fault:
        return _bad(fault)
    if read.fields.get(b"sec-websocket-version") != b"13":
        return Answer(
            refusal(
                ProblemCode.BAD_HANDSHAKE,
                "only WebSocket version 13 is spoken",
                "Sec-WebSocket-Version: 13",
                status=HTTPStatus.UPGRADE_REQUIRED,
            ),
            accepted=False,
        )
    if read.target.partition("?")[0] != "/":
        return Answer(refusal(ProblemCode.NOT_FOUND, "WebSocket is at /"), accepted=False)
    try:
        token, ticket = token_of(read), _ticket_of(read.query)
        check_single(token, ticket)
    except ValueError as error:
        return unauthorized(str(error))
    accept = generate_accept_token(read.fields[b"sec-websocket-key"])
    protocol = _PROTOCOL_CHOSEN if SUBPROTOCOL in _protocols(read) else b""
    return Answer(
        _ACCEPTED % (protocol, accept),
        accepted=True,
        token=token,
        origin=read.field(b"origin"),
        ticket=ticket,
    )


SUBPROTOCOL: Final = b"roomcast"
"""Subprotocol that a browser offers beside its token, so that the answer can name it."""
_TOKEN_PROTOCOL: Final = b"bearer."
_PROTOCOL_CHOSEN: Final = b"Sec-WebSocket-Protocol: %b\r\n" % SUBPROTOCOL
_ACCEPTED: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: WebSocket\r\n"
    b"Connection: Upgrade\r\n"
    b"%bSec-WebSocket-Accept: %b\r\n\r\n"
)


def unauthorized(detail: str, *lines: str, code: ProblemCode = ProblemCode.UNAUTHORIZED) -> Answer:
    """Refusal of a request whose credentials are wrong, with more lines of its head."""
    challenge = 'WWW-Authenticate: Bearer realm="roomcast"'
    data = refusal(code, detail, challenge, *lines)
    return Answer(data, accepted=False)


def _protocols(head: RequestHead) -> list[bytes]:
    listed = head.fields.get(b"sec-websocket-protocol")
    return [] if listed is None else [one.strip() for one in listed.split(b",")]


def token_of(head: RequestHead) -> str | None:
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


def check_single(token: str | None, ticket: str | None) -> None:
    """Check that no token is beside a ticket: a proxy may have looked at the other one.

    Raises:
        ValueError: both are there.
    """
    if token is not None and ticket is not None:
        raise ValueError("a token and a ticket are there; show one of them")


def _ticket_of(query: str) -> str | None:
    """Ticket in the query of a handshake, of which all else is ignored.

    Raises:
        ValueError: there are several.
    """
    if _TICKET not in query:
        return None
    found = parse_qs(query, keep_blank_values=True).get(_TICKET, [])
    if len(found) > 1:
        raise ValueError("a ticket is there more than once")
    return found[0] if found else None


def _fault(head: RequestHead) -> str | None:
    fields = head.fields
    if head.is_chunked or head.length:
        return "a handshake has no body"
    if not is_upgrade(head) or not head.names(b"connection", b"upgrade"):
        return "not a WebSocket handshake"
    try:
        key = base64.b64decode(fields.get(b"sec-websocket-key", b""), validate=True)
    except binascii.Error:
        key = b""
    return None if len(key) == _KEY_BYTES else "Sec-WebSocket-Key must be 16 bytes in base64"
