"""Server-Sent Events: the request for a stream, and the text of its events. Pure.

    GET /events?userId=1&room=1&room=2

The format is the HTML standard's, section 9.2. The id of an event holds the position of every
channel (`event_ids.py`), since a browser remembers nothing but the last id; `Last-Event-ID`, or
`lastEventId` in the query, resumes from there.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs

import msgspec

from common.model.channels import BROADCAST_CHANNEL, room_channel, user_channel
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.publication import Position
from common.web.request_head import HEAD_MAX_BYTES
from ws_gateway.protocol.close_codes import REASONS, CloseCode
from ws_gateway.protocol.event_ids import longest_id, read_event_id
from ws_gateway.protocol.messages import Register, read_rooms, read_user

EVENTS_PATH: Final = "/events"
COMMENT: Final = b": ping\n\n"
"""Keeps what lies between from closing the connection; browsers ignore it."""
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Connection: close\r\n"
)
_ID_LINE_BYTES: Final = len("Last-Event-ID: \r\n")
_PARAMETERS: Final = frozenset({"userId", "room", "lastEventId", "ticket"})
_TYPE: Final = b'{"type":"'


class _Answer(msgspec.Struct):
    type: str


_decode: Final = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """Request for an event stream, before its ids are checked.

    `channels` are the labels of what it asks to hear, `resume` the positions to go on from, by
    label. `ticket` says who asks, where no header does.
    """

    user: str
    rooms: list[str]
    channels: tuple[str, ...]
    resume: Mapping[str, Position]
    ticket: str | None = field(default=None, repr=False)

    def registration(self, max_rooms: int) -> Register:
        """Return the registration of a socket that asks for the same.

        Raises:
            MessageError: an id is none, or there are more rooms than `max_rooms`.
        """
        rooms = read_rooms(self.rooms, max_rooms)
        return Register(read_user(self.user), rooms, self.resume)


def read_stream_request(query: str, last_event_id: str | None) -> StreamRequest:
    """Read the query of an event stream.

    Whatever the last event id is, the stream is opened: a browser gives up for good when it is
    refused. An id that is not one of ours recovers no channel.

    Raises:
        ValueError: the query is not understood; the text says why.
    """
    fields = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    unknown = fields.keys() - _PARAMETERS
    if unknown:
        raise ValueError(f"unknown parameter: {min(unknown)[:64]}")
    if len(fields.get("userId", [])) != 1:
        raise ValueError("userId is to be given once")
    tickets = fields.get("ticket", [])
    if len(tickets) > 1:
        raise ValueError("ticket is to be given once")
    user, rooms = fields["userId"][0], fields.get("room", [])
    channels = tuple(
        dict.fromkeys([user_channel(user), BROADCAST_CHANNEL, *map(room_channel, rooms)])
    )
    resume = last_event_id or "".join(fields.get("lastEventId", []))
    # Whoever changed its rooms keeps what it knows of the others.
    positions = read_event_id(resume, channels) if resume else {}
    return StreamRequest(user, rooms, channels, positions, *tickets)


def check_size(head_bytes: int, last_event_id: str | None, channels: int) -> None:
    """Check that the head of a request is small enough to come back with an event id.

    Args:
        head_bytes: of the request.
        last_event_id: what it brought along.
        channels: how many it names.

    Raises:
        Problem: 431.
    """
    without = head_bytes - (0 if last_event_id is None else len(last_event_id) + _ID_LINE_BYTES)
    if without + _ID_LINE_BYTES + longest_id(channels) > HEAD_MAX_BYTES:
        raise Problem(
            ProblemCode.HEAD_TOO_LARGE,
            f"a head may have {HEAD_MAX_BYTES} bytes, and with so many or such long rooms this one "
            "would have more when it comes back with the id of an event",
        )


def stream_head(*lines: str) -> bytes:
    """Head of the answer to a request for a stream, with more lines."""
    return _HEAD + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def event(text: bytes, name: bytes = b"", event_id: bytes = b"") -> bytes:
    """One event.

    Args:
        text: its data.
        name: of the event; none for notifications.
        event_id: what a stream comes back with; empty: it keeps the one before.
    """
    # A sender may have broken lines between the tokens of its JSON.
    data = b"\ndata: ".join(text.splitlines())
    kind = b"event: %b\n" % name if name else b""
    place = b"id: %b\n" % event_id if event_id else b""
    return b"%b%bdata: %b\n\n" % (kind, place, data)


def close_event(code: CloseCode) -> bytes:
    """Last event of a stream: why it ends."""
    reason = {"code": int(code), "reason": REASONS[code], "comeBack": code.come_back}
    return event(json.dumps(reason).encode(), b"close")


def type_of(text: bytes) -> bytes:
    """Return the type of a message of ours, which is the name of its event."""
    if text.startswith(_TYPE):
        return text[len(_TYPE) : text.index(b'"', len(_TYPE))]
    return _decode(text).type.encode()
