"""The WebSocket handshake: a request's head in, what to answer out. Pure; wsproto reads the head.

Also decides what is a handshake at all: everything else on this port is plain HTTP.
"""

import base64
import binascii
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import RemoteProtocolError

from common.problems import Problem

HEAD_MAX_BYTES: Final = 16 * 1024
_KEY_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """Bytes to write, and whether the connection is a WebSocket from here on."""

    data: bytes
    accepted: bool


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


def answer_upgrade(head: bytes) -> Answer:
    """Answer a handshake.

    Args:
        head: the request's head, up to and with the empty line.
    """
    line, _, fields = head.partition(b"\r\n")
    if not line.endswith(b" HTTP/1.1"):
        return _bad("a handshake is HTTP/1.1")
    names = [field.partition(b":")[0].strip().lower() for field in fields.split(b"\r\n") if field]
    if b"transfer-encoding" in names or _has_body(fields):
        return _bad("a handshake has no body")
    connection = WSConnection(ConnectionType.SERVER)
    try:
        connection.receive_data(_join_connection_fields(line, fields))
        request = next(iter(connection.events()), None)
    except RemoteProtocolError as error:
        if "Sec-WebSocket-Version" in str(error) or _wrong_version(fields):
            return Answer(
                refusal(
                    HTTPStatus.UPGRADE_REQUIRED,
                    "bad-handshake",
                    "only WebSocket version 13 is spoken",
                    "Sec-WebSocket-Version: 13",
                ),
                accepted=False,
            )
        return _bad(str(error))
    except UnicodeDecodeError:
        return _bad("header fields are ASCII")
    if not isinstance(request, Request):
        return _bad("not a WebSocket handshake")
    if not _is_key(fields):
        return _bad("Sec-WebSocket-Key must be 16 bytes in base64")
    if request.target.partition("?")[0] != "/":
        return Answer(
            refusal(HTTPStatus.NOT_FOUND, "not-found", "WebSocket is at /"), accepted=False
        )
    return Answer(connection.send(AcceptConnection()), accepted=True)


def _values(fields: bytes, name: bytes) -> list[bytes]:
    found = []
    for field in fields.split(b"\r\n"):
        key, _, value = field.partition(b":")
        if key.strip().lower() == name:
            found.append(value.strip())
    return found


def _has_body(fields: bytes) -> bool:
    return any(value != b"0" for value in _values(fields, b"content-length"))


def _wrong_version(fields: bytes) -> bool:
    versions = _values(fields, b"sec-websocket-version")
    return bool(versions) and versions != [b"13"]


def _is_key(fields: bytes) -> bool:
    keys = _values(fields, b"sec-websocket-key")
    try:
        return len(keys) == 1 and len(base64.b64decode(keys[0], validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False


def _join_connection_fields(line: bytes, fields: bytes) -> bytes:
    # wsproto looks at the last Connection field only; RFC 9110 makes repeated ones one list.
    values = _values(fields, b"connection")
    if len(values) < 2:
        return line + b"\r\n" + fields
    kept = [
        f for f in fields.split(b"\r\n") if f.partition(b":")[0].strip().lower() != b"connection"
    ]
    return b"\r\n".join([line, b"Connection: " + b", ".join(values), *kept])
