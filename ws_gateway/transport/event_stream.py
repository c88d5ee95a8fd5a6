"""Server-Sent Events: what a socket hears, for those who can't use one.

    GET /events?userId=1&room=1&room=2

The stream is a connection like any other: registered from its query, in the same channels, left
behind and caught up by the same rules. Only its framing differs. The id of each event holds the
position of every channel (`event_ids.py`), since a browser remembers nothing but the last id;
`Last-Event-ID`, or `lastEventId` in the query, resumes from there. The format is the HTML
standard's, section 9.2.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import ClassVar, Final
from urllib.parse import parse_qs

from common.model.channels import BROADCAST_CHANNEL, room_channel, user_channel
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.model.publication import Position
from common.web.request_head import HEAD_MAX_BYTES
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import JoinedWrite
from ws_gateway.protocol.close_codes import REASONS, CloseCode
from ws_gateway.protocol.event_ids import EventIds, longest_id, read_event_id
from ws_gateway.protocol.frames import payloads
from ws_gateway.protocol.handshake import refusal
from ws_gateway.protocol.messages import ClientError, Register, parse_message
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.host import Host

EVENTS_PATH: Final = "/events"
HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Connection: close\r\n"
)
RECEIVED_MAX_BYTES: Final = 64 * 1024
"""Bytes that a client may send behind its request; they are dropped."""
_RETRY_AFTER: Final = "Retry-After: 10"
_ID_LINE_BYTES: Final = len("Last-Event-ID: \r\n")
_COMMENT: Final = b": ping\n\n"
_PARAMETERS: Final = frozenset({"userId", "room", "lastEventId", "ticket"})


@dataclass(frozen=True, slots=True)
class Registration:
    """Request for an event stream.

    `message` is the first message of a socket that asked for the same; it names so many `channels`.
    `ticket` says who asks, where no header does.
    """

    message: bytes
    channels: int
    ticket: str | None = field(default=None, repr=False)


def registration(query: str, last_event_id: str | None) -> Registration:
    """Read the query of an event stream.

    Whatever the last event id is, the stream is opened: a browser gives up for good when it is
    refused. Of an id that is none of ours, no channel is recovered.

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
    message: dict[str, object] = {"userId": user, "room": rooms}
    channels = dict.fromkeys([user_channel(user), BROADCAST_CHANNEL, *map(room_channel, rooms)])
    resume = last_event_id or "".join(fields.get("lastEventId", []))
    if resume:
        # Whoever changed its rooms keeps what it knows of the others.
        message["resume"] = {
            channel: position._asdict()
            for channel, position in read_event_id(resume, channels).items()
        }
    return Registration(json.dumps(message).encode(), len(channels), *tickets)


def refuse_large(head_bytes: int, last_event_id: str | None, channels: int) -> None:
    """Refuse a request that would be too large a head once it comes back with an event id.

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


class EventStream(Connection):
    """A connection whose client only listens."""

    __slots__ = ("_ids", "_received", "_resume")

    DIRECT: ClassVar = False

    def __init__(self, host: Host[Connection], number: int, address: str) -> None:
        super().__init__(host, number, address)
        self._ids: EventIds | None = None
        self._resume: Mapping[str, Position] = {}
        self._received = 0

    def begin(self, message: bytes, *lines: str) -> None:
        """Answer the request, and register.

        Args:
            message: as a socket would send it.
            lines: more lines of the answer's head, whatever the answer is.
        """
        assert self._transport is not None
        most = self.host.admission.most_rooms(self.principal)
        try:
            register = parse_message(message.decode(), registered=False, max_rooms=most)
            assert isinstance(register, Register)
            self.host.admission.admit(self, register)
        except ClientError as error:
            extra = [_RETRY_AFTER] if error.code is ProblemCode.TOO_MANY_CONNECTIONS else []
            # The query is no body: what is wrong with it is 400, and not 422.
            status = HTTPStatus.BAD_REQUEST if error.code is ProblemCode.INVALID else None
            self._transport.write(refusal(error.code, str(error), *extra, *lines, status=status))
            self._transport.close()
            return
        self._resume = register.resume
        self._transport.write(HEAD + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n")
        self.host.connections.add(self)
        self.host.handle(self, message.decode())

    def data_received(self, data: bytes) -> None:
        """Drop what comes, as there is nothing to say; close if it is too much."""
        self._received += len(data)
        if self._received > RECEIVED_MAX_BYTES:
            self.close(CloseCode.PROTOCOL_ERROR)

    def send(self, payload: bytes) -> None:
        """Send what a socket would get in answer, as an event of that name."""
        body = json.loads(payload)
        if body["type"] == "registered":
            # What was missed is still to come: until then the client is where it was.
            self._ids = EventIds(
                {
                    channel: self._resume[channel]
                    if found.get("recovered")
                    else Position(found["epoch"], found["offset"])
                    for channel, found in body["channels"].items()
                }
            )
        elif body["type"] == "reset" and self._ids:
            self._ids.move(body["channel"], Position(body["epoch"], body["offset"]))
        self.write_if_bounded(self._event(payload, body["type"]))

    def write_frames(self, channel: HeardChannel, frames: bytes) -> None:
        """Send text frames of a channel as events."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(self._events(channel, frames))

    def deliver(self, channel: HeardChannel, joined: JoinedWrite) -> bool:
        """Take its part of a pass, unless it is behind."""
        if not self.may_be_given(channel, joined.before):
            return False
        self.write_frames(channel, joined.data)
        return True

    def ping(self) -> None:
        """Keep what lies between from closing the connection; nobody answers this."""
        self.seen = self.host.clock.now
        self.write_if_bounded(_COMMENT)

    def _part(self, transport: asyncio.Transport, code: CloseCode) -> None:
        reason = {"code": int(code), "reason": REASONS[code], "comeBack": code.come_back}
        transport.write(b"event: close\ndata: %b\n\n" % json.dumps(reason).encode())
        transport.close()

    def _events(self, channel: HeardChannel, frames: bytes) -> bytes:
        events = []
        assert self._ids is not None
        for payload in payloads(frames):
            body = json.loads(payload)
            self._ids.move(channel.label, Position(body["epoch"], body["offset"]))
            events.append(self._event(payload, body["type"]))
        return b"".join(events)

    def _event(self, payload: bytes, name: str) -> bytes:
        # A sender may have broken lines between the tokens of its JSON.
        data = b"\ndata: ".join(payload.splitlines())
        kind = b"" if name in ("private", "room", "broadcast") else b"event: %b\n" % name.encode()
        place = b"id: %b\n" % self._ids.id() if self._ids else b""
        return b"%b%bdata: %b\n\n" % (kind, place, data)
