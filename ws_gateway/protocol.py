"""What clients say and hear on a socket, apart from how it travels. Pure.

The protocol is documented in `docs/protocol.md` and `docs/asyncapi.yaml`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec

from common.identifiers import identifier
from common.publication import Position

_encode: Final = msgspec.json.Encoder().encode


class ErrorCode(StrEnum):
    """Code of an error frame. The connection lives on after every one of them."""

    MALFORMED = "malformed"
    INVALID = "invalid"
    NOT_REGISTERED = "not-registered"
    ALREADY_REGISTERED = "already-registered"
    UNKNOWN_ACTION = "unknown-action"
    TOO_MANY_ROOMS = "too-many-rooms"
    NOT_IN_ROOM = "not-in-room"
    UNSUPPORTED = "unsupported"


class ClientError(Exception):
    """A message that isn't understood; it is answered with an error frame."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Register:
    """First message: who this is, and which rooms it wants to hear."""

    user: str
    rooms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """Hear more rooms."""

    rooms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leave:
    """Stop hearing rooms."""

    rooms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PingAction:
    """Is anybody there?"""


Message = Register | Join | Leave | PingAction


def _fields(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise ClientError(ErrorCode.MALFORMED, f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ClientError(ErrorCode.MALFORMED, "a message is a JSON object")
    return value


def _only(fields: dict[str, Any], *known: str) -> None:
    for name in fields:
        if name not in known:
            raise ClientError(ErrorCode.INVALID, f"unknown field: {name[:64]}")


def _id(value: object, name: str) -> str:
    try:
        return identifier(value)
    except ValueError as error:
        raise ClientError(ErrorCode.INVALID, f"{name} {error}") from None


def _rooms(value: object, max_rooms: int) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if len(values) > max_rooms:
        raise ClientError(ErrorCode.TOO_MANY_ROOMS, f"at most {max_rooms} rooms")
    return tuple(dict.fromkeys(_id(item, "room") for item in values))


def parse_message(text: str, *, registered: bool, max_rooms: int) -> Message:
    """Read one text message of a client.

    Raises:
        ClientError: it isn't understood.
    """
    fields = _fields(text)
    action = fields.get("action")
    if action is None:
        if "userId" not in fields:
            if registered:
                raise ClientError(ErrorCode.UNKNOWN_ACTION, "action is missing")
            raise ClientError(ErrorCode.INVALID, "register first: userId is missing")
        if registered:
            raise ClientError(ErrorCode.ALREADY_REGISTERED, "this connection is registered")
        _only(fields, "userId", "room")
        rooms = _rooms(fields["room"], max_rooms) if "room" in fields else ()
        return Register(_id(fields["userId"], "userId"), rooms)
    if action == "ping":
        _only(fields, "action")
        return PingAction()
    if action not in ("join", "leave"):
        raise ClientError(ErrorCode.UNKNOWN_ACTION, "action must be join, leave or ping")
    if not registered:
        raise ClientError(ErrorCode.NOT_REGISTERED, "register first")
    _only(fields, "action", "room")
    if "room" not in fields:
        raise ClientError(ErrorCode.INVALID, "room is missing")
    rooms = _rooms(fields["room"], max_rooms)
    return Join(rooms) if action == "join" else Leave(rooms)


def _channels(positions: Mapping[str, Position]) -> dict[str, dict[str, str | int]]:
    return {
        channel: {"epoch": position.epoch, "offset": position.offset}
        for channel, position in positions.items()
    }


def registered_text(
    user: str, rooms: tuple[str, ...], connection: str, positions: Mapping[str, Position]
) -> bytes:
    """Answer to a registration, with the gateway's own position in every channel."""
    return _encode(
        {
            "type": "registered",
            "userId": user,
            "rooms": rooms,
            "connectionId": connection,
            "channels": _channels(positions),
        }
    )


def joined_text(rooms: tuple[str, ...], positions: Mapping[str, Position]) -> bytes:
    """Answer to `join`."""
    return _encode({"type": "joined", "rooms": rooms, "channels": _channels(positions)})


def left_text(rooms: tuple[str, ...]) -> bytes:
    """Answer to `leave`."""
    return _encode({"type": "left", "rooms": rooms})


PONG_TEXT: Final = _encode({"type": "pong"})


def error_text(error: ClientError) -> bytes:
    """Error frame."""
    message = str(error).encode(errors="replace").decode()
    return _encode({"type": "error", "code": error.code, "message": message})
