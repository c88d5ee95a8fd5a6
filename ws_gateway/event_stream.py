"""Server-Sent Events: what a socket hears, for those who can't use one.

    GET /events?userId=1&room=1&room=2

The stream is a connection like any other: registered from its query, in the same channels, left
behind and caught up by the same rules. Only its framing differs. The id of each event holds the
position of every channel, since a browser remembers nothing but the last id; `Last-Event-ID`, or
`lastEventId` in the query, resumes from there. The format is the HTML standard's, section 9.2.
"""

import asyncio
import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, ClassVar, Final
from urllib.parse import parse_qs, quote, unquote

from common.publication import Position
from ws_gateway.close_codes import REASONS, CloseCode
from ws_gateway.connection import Connection
from ws_gateway.frames import payloads
from ws_gateway.handshake import refusal
from ws_gateway.protocol import ClientError, ErrorCode, Register, parse_message

if TYPE_CHECKING:
    from ws_gateway.channel import Channel
    from ws_gateway.fan_out import Pass
    from ws_gateway.session import Gateway

HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-store\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"Vary: Origin\r\n"
    b"Connection: close\r\n"
)
_RETRY_AFTER: Final = "Retry-After: 10"
_COMMENT: Final = b": ping\n\n"
_PARAMETERS: Final = frozenset({"userId", "room", "lastEventId"})


def format_event_id(positions: Mapping[str, Position]) -> str:
    """Positions of all channels as one event id: `room:1~<epoch>~<offset>;…`."""
    return ";".join(
        f"{_quoted(channel)}~{position.epoch}~{position.offset}"
        for channel, position in positions.items()
    )


def _quoted(channel: str) -> str:
    # `quote` leaves the tilde as it is.
    return quote(channel, safe=":").replace("~", "%7E")


def parse_event_id(text: str) -> dict[str, Position]:
    """Read what `format_event_id` wrote.

    Raises:
        ValueError: it is something else.
    """
    positions = {}
    for part in filter(None, text.split(";")):
        channel, epoch, offset = part.split("~")
        positions[unquote(channel)] = Position(epoch, int(offset))
    return positions


def registration(query: str, last_event_id: str | None) -> bytes:
    """The first message of a socket that asked for the same.

    Raises:
        ValueError: the query is not understood; the text says why.
    """
    fields = parse_qs(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    unknown = fields.keys() - _PARAMETERS
    if unknown:
        raise ValueError(f"unknown parameter: {min(unknown)[:64]}")
    if len(fields.get("userId", [])) != 1:
        raise ValueError("userId is to be given once")
    message: dict[str, object] = {"userId": fields["userId"][0], "room": fields.get("room", [])}
    resume = last_event_id or "".join(fields.get("lastEventId", []))
    if resume:
        rooms = {f"room:{room}" for room in fields.get("room", [])}
        known = {f"user:{fields['userId'][0]}", "broadcast", *rooms}
        try:
            positions = parse_event_id(resume)
        except ValueError:
            raise ValueError("the last event id is not one of this server's") from None
        # Whoever changed its rooms keeps what it knows of the others.
        message["resume"] = {
            channel: position._asdict()
            for channel, position in positions.items()
            if channel in known
        }
    return json.dumps(message).encode()


class EventStream(Connection):
    """A connection whose client only listens."""

    __slots__ = ("_positions", "_resume")

    DIRECT: ClassVar = False

    def __init__(self, gateway: "Gateway", number: int, address: str) -> None:
        super().__init__(gateway, number, address)
        self._positions: dict[str, Position] = {}
        self._resume: Mapping[str, Position] = {}

    def begin(self, message: bytes, origin: str | None = None) -> None:
        """Answer the request, and register.

        Args:
            message: as a socket would send it.
            origin: of the page, which may read the answer, if a browser asks.
        """
        assert self._transport is not None
        most = self.gateway.admission.most_rooms(self.principal)
        try:
            register = parse_message(message.decode(), registered=False, max_rooms=most)
            assert isinstance(register, Register)
            self.gateway.admission.admit(self, register)
        except ClientError as error:
            match error.code:
                case ErrorCode.FORBIDDEN:
                    status, extra = HTTPStatus.FORBIDDEN, []
                case ErrorCode.TOO_MANY_CONNECTIONS:
                    status, extra = HTTPStatus.TOO_MANY_REQUESTS, [_RETRY_AFTER]
                case _:
                    status, extra = HTTPStatus.BAD_REQUEST, []
            self._transport.write(refusal(status, error.code, str(error), *extra))
            self._transport.close()
            return
        self._resume = register.resume
        allowed = f"Access-Control-Allow-Origin: {origin}\r\n" if origin is not None else ""
        self._transport.write(HEAD + allowed.encode() + b"\r\n")
        self.gateway.connections.add(self)
        self.gateway.handle(self, message.decode())

    def data_received(self, data: bytes) -> None:
        """Drop what comes: there is nothing to say."""

    def send(self, payload: bytes) -> None:
        """Send what a socket would get in answer, as an event of that name."""
        body = json.loads(payload)
        if body["type"] == "registered":
            self._positions = {
                channel: Position(found["epoch"], found["offset"])
                for channel, found in body["channels"].items()
            }
            # What was missed is still to come: until then the client is where it was.
            for channel, position in self._resume.items():
                if body["channels"][channel]["recovered"]:
                    self._positions[channel] = position
        elif body["type"] == "reset":
            self._positions[body["channel"]] = Position(body["epoch"], body["offset"])
        self.write_if_bounded(self._event(payload, body["type"]))

    def write_frames(self, channel: "Channel", frames: bytes) -> None:
        """Send text frames of a channel as events."""
        if self._transport and not self._transport.is_closing():
            self._transport.write(self._events(channel, frames))

    def deliver(self, a_pass: "Pass") -> bool:
        """Take its part of a pass, unless it is behind."""
        if not self.may_be_given(a_pass):
            return False
        self.write_frames(a_pass.channel, a_pass.data)
        return True

    def ping(self) -> None:
        """Keep what lies between from closing the connection; nobody answers this."""
        self.seen = self.gateway.clock.now
        self.write_if_bounded(_COMMENT)

    def _part(self, transport: asyncio.Transport, code: CloseCode) -> None:
        reason = {"code": int(code), "reason": REASONS[code], "comeBack": code.come_back}
        transport.write(b"event: close\ndata: %b\n\n" % json.dumps(reason).encode())
        transport.close()

    def _events(self, channel: "Channel", frames: bytes) -> bytes:
        events = []
        for payload in payloads(frames):
            body = json.loads(payload)
            self._positions[channel.label] = Position(body["epoch"], body["offset"])
            events.append(self._event(payload, body["type"]))
        return b"".join(events)

    def _event(self, payload: bytes, name: str) -> bytes:
        # A sender may have broken lines between the tokens of its JSON.
        data = b"\ndata: ".join(payload.splitlines())
        kind = b"" if name in ("private", "room", "broadcast") else b"event: %b\n" % name.encode()
        return b"%bid: %b\ndata: %b\n\n" % (
            kind,
            format_event_id(self._positions).encode(),
            data,
        )
