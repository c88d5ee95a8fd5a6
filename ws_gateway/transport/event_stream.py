"""Server-Sent Events: what a socket hears, for those who can't use one.

The stream is a connection like any other: registered from its query, in the same channels, left
behind and caught up by the same rules. Only its framing differs (`event_stream_format.py`).
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import ClassVar, Final

from common.model.problem_codes import ProblemCode
from common.model.publication import Position
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import JoinedWrite
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.event_ids import EventIds
from ws_gateway.protocol.event_stream_format import (
    COMMENT,
    StreamRequest,
    close_event,
    event,
    stream_head,
    type_of,
)
from ws_gateway.protocol.handshake import refusal
from ws_gateway.protocol.messages import MessageError, Register
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.host import Host

RECEIVED_MAX_BYTES: Final = 64 * 1024
"""Bytes that may come behind the request; they are dropped."""
_RETRY_AFTER: Final = "Retry-After: 10"


class EventStream(Connection):
    """A connection that only listens."""

    __slots__ = ("_ids", "_received")

    DIRECT: ClassVar = False

    def __init__(self, host: Host[Connection], number: int, address: str) -> None:
        super().__init__(host, number, address)
        self._ids: EventIds | None = None
        self._received = 0

    def begin(self, request: StreamRequest, *lines: str) -> None:
        """Answer the request, and register.

        Args:
            request: whom and what it is to hear.
            lines: more lines of the answer's head, whatever the answer is.
        """
        assert self._transport is not None
        admission = self.host.admission
        try:
            message = request.registration(admission.most_rooms(self.principal))
            admission.admit(self, message)
        except MessageError as error:
            extra = [_RETRY_AFTER] if error.code is ProblemCode.TOO_MANY_CONNECTIONS else []
            # The query is no body: what is wrong with it is 400, and not 422.
            status = HTTPStatus.BAD_REQUEST if error.code is ProblemCode.INVALID else None
            self._transport.write(refusal(error.code, str(error), *extra, *lines, status=status))
            self._transport.close()
            return
        self._transport.write(stream_head(*lines))
        self.host.connections.add(self)
        self.host.register(self, message)

    def data_received(self, data: bytes) -> None:
        """Drop what comes, as there is nothing to say; close if it is too much."""
        self._received += len(data)
        if self._received > RECEIVED_MAX_BYTES:
            self.close(CloseCode.PROTOCOL_ERROR)

    def confirm(
        self,
        message: Register,
        positions: Mapping[str, Position],
        recovered: Mapping[str, bool],
    ) -> None:
        """Answer its registration, and begin to give events their ids."""
        # What was missed is still to come: until then the connection is where it was.
        self._ids = EventIds(
            {
                label: message.resume[label] if recovered.get(label) else position
                for label, position in positions.items()
            }
        )
        super().confirm(message, positions, recovered)

    def send(self, payload: bytes) -> None:
        """Send what a socket would get in answer, as an event of that name."""
        self.write_if_bounded(event(payload, type_of(payload), self._id()))

    def ping(self) -> None:
        """Keep proxies from closing an idle connection; nobody answers this."""
        self.seen = self.host.clock.now
        self.write_if_bounded(COMMENT)

    def _part(self, transport: asyncio.Transport, code: CloseCode) -> None:
        transport.write(close_event(code))
        transport.close()

    def _framed(self, channel: HeardChannel, joined: JoinedWrite) -> bytes:
        assert self._ids is not None
        events = []
        for item in joined.items:
            self._ids.move(channel.label, item.position)
            events.append(event(item.text, b"reset" if item.is_reset else b"", self._id()))
        return b"".join(events)

    def _id(self) -> bytes:
        return self._ids.id() if self._ids else b""
