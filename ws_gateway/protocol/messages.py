"""Messages that a socket sends and receives, without the transport. Pure.

The protocol is documented in `docs/reference/protocol.md` and
`docs/reference/asyncapi.yaml`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from common.errors import RoomcastError
from common.events.event import EventKind
from common.events.receipts import IDS_MAX
from common.model.channels import BROADCAST_CHANNEL, room_channel, user_channel
from common.model.ids import identifier
from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from common.model.surrogates import lone_surrogates
from common.model.timestamps import format_time

_AT_BYTE: Final = re.compile(r"\(byte (\d+)\)")
_REASONS: Final = {
    "truncated": "it ends too early",
    "recursion": "it is nested too deep",
    "out of range": "a number is too large",
    "trailing": "something follows it",
    "surrogate": "text holds a lone surrogate",
}
_encode: Final = msgspec.json.Encoder().encode


OFFSET_MAX: Final = 2**53
"""Offsets are numbers in JSON: past this, not every program can tell two of them apart."""
EPOCH_MAX_CHARACTERS: Final = 64


ERROR_CODES: Final = (
    ProblemCode.MALFORMED,
    ProblemCode.INVALID,
    ProblemCode.NOT_REGISTERED,
    ProblemCode.ALREADY_REGISTERED,
    ProblemCode.UNKNOWN_ACTION,
    ProblemCode.TOO_MANY_ROOMS,
    ProblemCode.NOT_IN_ROOM,
    ProblemCode.UNSUPPORTED,
    ProblemCode.UNAVAILABLE,
    ProblemCode.NOT_SENT,
    ProblemCode.TOO_MANY_RECEIPTS,
    ProblemCode.UNAUTHORIZED,
    ProblemCode.TICKET_NOT_ACCEPTED,
    ProblemCode.FORBIDDEN,
    ProblemCode.TOO_MANY_CONNECTIONS,
)
"""Codes of error frames.

The connection lives on after every one but `TICKET_NOT_ACCEPTED` and `TOO_MANY_CONNECTIONS`.
"""


class MessageError(RoomcastError):
    """A message that isn't understood; it is answered with an error frame.

    Args:
        code: what is wrong.
        message: the same for people.
        ids: of notifications that it is about.
    """

    def __init__(self, code: ProblemCode, message: str, ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.ids = ids


@dataclass(frozen=True, slots=True)
class Register:
    """First message: who this is, and which rooms it wants to hear.

    `resume` tells, by channel, the position last seen there; `token` is a user token, if any.
    """

    user: str
    rooms: tuple[str, ...]
    resume: Mapping[str, Position] = field(default_factory=dict)
    token: str | None = field(default=None, repr=False)


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


@dataclass(frozen=True, slots=True)
class Refresh:
    """Go on by another token of the same user."""

    token: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """These notifications were delivered to the user, or read by them."""

    kind: EventKind
    ids: tuple[str, ...]


Message = Register | Join | Leave | PingAction | Refresh | Receipt


def _fields(text: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        reason = _reason(text, str(error))
        raise MessageError(ProblemCode.MALFORMED, f"not JSON: {reason}") from None
    if not isinstance(value, dict):
        raise MessageError(ProblemCode.MALFORMED, "a message is a JSON object")
    # A colon follows each name. Few messages have more of them, so few are read again.
    if text.count(":") > _count_names(value):
        _check_repeated(text)
    # Go, Java and C# write what they leave out as null.
    return {name: one for name, one in value.items() if one is not None}


def _reason(text: str, error: str) -> str:
    """Describe the fault of a text without naming the library that parsed it."""
    if lone_surrogates(text.encode(errors="surrogatepass")):
        return _REASONS["surrogate"]
    place = _AT_BYTE.search(error)
    reason = next((ours for theirs, ours in _REASONS.items() if theirs in error), "")
    if place is None:
        return reason or "its grammar is another one"
    return f"{reason} (byte {place[1]})" if reason else f"see byte {place[1]}"


def _count_names(value: dict[str, Any]) -> int:
    return len(value) + sum(_count_names(one) for one in value.values() if isinstance(one, dict))


def _check_repeated(text: str) -> None:
    """Check that no object has a name twice: readers differ in which value they take.

    Raises:
        MessageError: there is one.
    """
    try:
        json.loads(text, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except RecursionError:
        raise MessageError(ProblemCode.MALFORMED, f"not JSON: {_REASONS['recursion']}") from None


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    names = set()
    for name, _ in pairs:
        if name in names:
            raise MessageError(ProblemCode.INVALID, f"{name[:64]} is there more than once")
        names.add(name)


def _only(fields: dict[str, Any], *known: str) -> None:
    for name in fields:
        if name not in known:
            raise MessageError(ProblemCode.INVALID, f"unknown field: {name[:64]}")


def _id(value: object, name: str) -> str:
    try:
        return identifier(value)
    except ValueError as error:
        raise MessageError(ProblemCode.INVALID, f"{name} {error}") from None


def read_user(value: object) -> str:
    """Read the user of a registration.

    Raises:
        MessageError: it is no id.
    """
    return _id(value, "userId")


def read_rooms(value: object, max_rooms: int) -> tuple[str, ...]:
    """Read one room or a list of them, each once.

    Raises:
        MessageError: one is no id, or there are more than `max_rooms`.
    """
    values = value if isinstance(value, list) else [value]
    if len(values) > max_rooms:
        raise MessageError(ProblemCode.TOO_MANY_ROOMS, f"at most {max_rooms} rooms")
    return tuple(dict.fromkeys(_id(item, "room") for item in values))


def _token(value: object) -> str:
    if not isinstance(value, str):
        raise MessageError(ProblemCode.INVALID, "token must be text")
    return value


def _ids(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= IDS_MAX:
        raise MessageError(ProblemCode.INVALID, f"id must be an id, or 1 to {IDS_MAX} of them")
    return tuple(dict.fromkeys(_id(item, "id") for item in values))


def _resume(value: object, user: str, rooms: tuple[str, ...]) -> dict[str, Position]:
    if not isinstance(value, dict):
        raise MessageError(ProblemCode.INVALID, "resume must be an object of channels")
    known = {user_channel(user), BROADCAST_CHANNEL, *map(room_channel, rooms)}
    positions = {}
    for channel, position in value.items():
        if channel not in known:
            raise MessageError(
                ProblemCode.INVALID, f"resume: not a channel of this registration: {channel[:64]}"
            )
        positions[channel] = _position(position)
    return positions


def _position(value: object) -> Position:
    match value:
        case {"epoch": str(epoch), "offset": int(offset)} if (
            not isinstance(offset, bool)
            and 0 <= offset <= OFFSET_MAX
            and len(epoch) <= EPOCH_MAX_CHARACTERS
            and epoch.isascii()
        ):
            return Position(epoch, offset)
    raise MessageError(ProblemCode.INVALID, "resume: a position is {epoch, offset}")


def parse_message(text: str, *, registered: bool, max_rooms: int) -> Message:
    """Read one text message of a connection.

    Raises:
        MessageError: it isn't understood.
    """
    fields = _fields(text)
    action = fields.get("action")
    if action is None:
        if "userId" not in fields:
            if registered:
                raise MessageError(ProblemCode.UNKNOWN_ACTION, "action is missing")
            raise MessageError(ProblemCode.INVALID, "register first: userId is missing")
        if registered:
            raise MessageError(ProblemCode.ALREADY_REGISTERED, "this connection is registered")
        _only(fields, "userId", "room", "resume", "token")
        rooms = read_rooms(fields["room"], max_rooms) if "room" in fields else ()
        user = read_user(fields["userId"])
        token = _token(fields["token"]) if "token" in fields else None
        return Register(user, rooms, _resume(fields.get("resume", {}), user, rooms), token)
    if action == "ping":
        _only(fields, "action")
        return PingAction()
    if action not in ("join", "leave", "ack", "read", "refresh"):
        raise MessageError(
            ProblemCode.UNKNOWN_ACTION, "action must be join, leave, ack, read, refresh or ping"
        )
    if not registered:
        raise MessageError(ProblemCode.NOT_REGISTERED, "register first")
    if action == "refresh":
        _only(fields, "action", "token")
        return Refresh(_token(fields.get("token")))
    if action in ("ack", "read"):
        _only(fields, "action", "id")
        kind = EventKind.DELIVERED if action == "ack" else EventKind.READ
        return Receipt(kind, _ids(fields.get("id")))
    _only(fields, "action", "room")
    if "room" not in fields:
        raise MessageError(ProblemCode.INVALID, "room is missing")
    rooms = read_rooms(fields["room"], max_rooms)
    return Join(rooms) if action == "join" else Leave(rooms)


def _channels(
    positions: Mapping[str, Position], recovered: Mapping[str, bool]
) -> dict[str, dict[str, str | int | bool]]:
    found: dict[str, dict[str, str | int | bool]] = {
        channel: {"epoch": position.epoch, "offset": position.offset}
        for channel, position in positions.items()
    }
    for channel, exact in recovered.items():
        found[channel]["recovered"] = exact
    return found


def registered_text(
    user: str,
    rooms: tuple[str, ...],
    connection: str,
    positions: Mapping[str, Position],
    recovered: Mapping[str, bool],
) -> bytes:
    """Answer to a registration.

    Args:
        user: who.
        rooms: which rooms.
        connection: id of the connection.
        positions: the gateway's own position in every channel.
        recovered: of the channels that were to be resumed, whether nothing is missing: what came
            after the connection's position follows this answer, up to the gateway's position.
    """
    return _encode(
        {
            "type": "registered",
            "userId": user,
            "rooms": rooms,
            "connectionId": connection,
            "channels": _channels(positions, recovered),
        }
    )


def reset_text(channel: str, position: Position, *, recovered: bool) -> bytes:
    """Tell that a channel goes on from another position.

    Its epoch ended, or (`recovered` false) something was lost before the position.
    """
    return _encode(
        {
            "type": "reset",
            "channel": channel,
            "epoch": position.epoch,
            "offset": position.offset,
            "recovered": recovered,
        }
    )


def joined_text(rooms: tuple[str, ...], positions: Mapping[str, Position]) -> bytes:
    """Answer to `join`."""
    return _encode({"type": "joined", "rooms": rooms, "channels": _channels(positions, {})})


def left_text(rooms: tuple[str, ...]) -> bytes:
    """Answer to `leave`."""
    return _encode({"type": "left", "rooms": rooms})


def refreshed_text(expires_s: float) -> bytes:
    """Answer to `refresh`: when the token expires."""
    return _encode({"type": "refreshed", "expiresAt": format_time(int(expires_s * 1000))})


def receipt_text(
    kind: EventKind, user: str, ids: Sequence[str], refused: Sequence[str] = ()
) -> bytes:
    """Answer to a receipt; that of `read` is what the user's other connections get as well.

    Args:
        kind: of the receipt.
        user: whose.
        ids: of what it is written for.
        refused: ids of what the user was not sent.
    """
    name = "read" if kind is EventKind.READ else "acked"
    body: dict[str, object] = {"type": name, "userId": user, "ids": ids}
    if refused:
        body["refused"] = refused
    return _encode(body)


PONG_TEXT: Final = _encode({"type": "pong"})


def error_text(error: MessageError) -> bytes:
    """Error frame."""
    message = str(error).encode(errors="replace").decode()
    body: dict[str, object] = {"type": "error", "code": error.code, "message": message}
    if error.ids:
        body["ids"] = error.ids
    return _encode(body)
