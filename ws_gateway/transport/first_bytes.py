"""The first bytes of a connection decide: a WebSocket handshake, or plain HTTP for aiohttp."""

import asyncio
import math
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from common.auth.failed_attempts import TOO_MANY_FAILURES
from common.auth.principal import Principal
from common.auth.tickets import Grant
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem, closing_answer
from common.web.cors import answer_lines, is_one_origin
from common.web.hand_over import hand_over
from common.web.peer_address import peer_address
from common.web.problem_middleware import check_coding
from common.web.request_head import END, HEAD_MAX_BYTES, RequestHead, check_beginning, read_head
from ws_gateway import metrics
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.protocol.event_stream_format import (
    EVENTS_PATH,
    StreamRequest,
    check_size,
    read_stream_request,
)
from ws_gateway.protocol.handshake import (
    Answer,
    answer_upgrade,
    check_single,
    is_upgrade,
    refusal,
    token_of,
    unauthorized,
)
from ws_gateway.protocol.messages import MessageError
from ws_gateway.transport.connection import Connection
from ws_gateway.transport.event_stream import EventStream
from ws_gateway.transport.host import Host
from ws_gateway.transport.web_socket import WebSocket


class Front(asyncio.Protocol):
    """A connection until its head has come.

    Args:
        host: whose connection it may become.
        fronts: it is in this set until it is decided; the sweep ends those that take too long.
        aiohttp_handler: makes the protocol for plain HTTP.
        number: of this connection.
    """

    __slots__ = (
        "_address",
        "_aiohttp_handler",
        "_eof",
        "_fronts",
        "_head",
        "_host",
        "_in_line",
        "_lines",
        "_number",
        "_transport",
        "since",
    )

    def __init__(
        self,
        host: Host[Connection],
        fronts: "set[Front]",
        aiohttp_handler: Callable[[], asyncio.Protocol],
        number: int,
    ) -> None:
        self._host = host
        self._fronts = fronts
        self._aiohttp_handler = aiohttp_handler
        self._number = number
        self._address = ""
        self._head = b""
        self._in_line = False
        self._eof = False
        self._lines: list[str] = []
        self._transport: asyncio.Transport | None = None
        self.since = host.clock.now

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._fronts.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._fronts.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Collect the head, then decide."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._head = head = self._head + data if self._head else data
        if self._in_line:
            if len(head) >= HEAD_MAX_BYTES:
                transport.pause_reading()
            return
        end = head.find(END, 0, HEAD_MAX_BYTES) + len(END)
        try:
            if end < len(END):
                check_beginning(head)
                return
            request = read_head(head[:end])
        except Problem:
            # Who answers plain HTTP answers that, too.
            self._hand_over(transport, self._aiohttp_handler(), head)
            return
        upgrade, events = is_upgrade(request), _asks_for_events(request)
        if events:
            self._lines = self._cors_lines(request.field(b"origin"))
        if (upgrade or events) and self._must_wait(transport, request):
            return
        if (upgrade or events) and b"content-encoding" in request.fields:
            try:
                check_coding(request.field(b"content-encoding") or "")
            except Problem as problem:
                self.refuse(problem)
                return
        if upgrade:
            self._in_line = True
            self._host.pacer.do(self, lambda: self._upgrade(request, end))
        elif events:
            self._in_line = True
            self._host.pacer.do(self, lambda: self._stream_events(request, end))
        else:
            self._hand_over(transport, self._aiohttp_handler(), head)

    def eof_received(self) -> bool:
        """Keep the transport while its request is in line."""
        self._eof = True
        transport = self._transport
        is_tls = transport is None or bool(transport.get_extra_info("sslcontext"))
        return self._in_line and not is_tls

    def _must_wait(self, transport: asyncio.Transport, request: RequestHead) -> bool:
        admission, now = self._host.admission, time.monotonic()
        if admission.counts_addresses:
            forwarded_for = request.field(b"x-forwarded-for")
            self._address = peer_address(transport, forwarded_for, admission.proxies)
        wait_s = admission.failed.wait_s(self._address, now)
        if wait_s:
            self._turn_away(transport, ProblemCode.TOO_MANY_FAILURES, TOO_MANY_FAILURES, wait_s)
            return True
        code = admission.rates.refusal(self._address, now)
        if code is not None:
            self._turn_away(transport, code, "too many connections within a second; come back")
        return code is not None

    def refuse(self, problem: Problem) -> None:
        """Answer with a problem document and close."""
        if self._transport and not self._transport.is_closing():
            metrics.handshakes.labels("refused").inc()
            self._transport.write(closing_answer(problem, *self._lines))
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport:
            self._transport.abort()

    def _admitted(self) -> asyncio.Transport | None:
        """The transport, if the other end is still there and there is room for it."""
        host, transport = self._host, self._transport
        if transport is None or transport.is_closing():
            return None
        if host.draining:
            # It was accepted before the listener closed; nobody would tell it to come back.
            self._turn_away(transport, ProblemCode.DRAINING, "this gateway is about to stop")
            return None
        if len(host.connections) >= host.limits.max_connections:
            self._turn_away(
                transport, ProblemCode.FULL, "this gateway has no room for more connections"
            )
            return None
        return transport

    def _stream_events(self, request: RequestHead, end: int) -> None:
        transport = self._admitted()
        if transport is None:
            return
        last_event_id = request.field(b"last-event-id")
        try:
            asked = read_stream_request(request.query, last_event_id)
            check_size(end, last_event_id, len(asked.channels))
        except ValueError as error:
            self.refuse(Problem(ProblemCode.BAD_REQUEST, str(error)))
            return
        except Problem as problem:
            self.refuse(problem)
            return
        try:
            self._check_origin(request.field(b"origin"))
            token = token_of(request)
            check_single(token, asked.ticket)
            if asked.ticket is not None:
                self._redeem(asked.ticket, lambda found: self._stream_by_ticket(asked, found))
                return
            principal = self._host.admission.principal_of(token, self._address)
        except ValueError as error:
            self._turn_down(transport, MessageError(ProblemCode.UNAUTHORIZED, str(error)))
            return
        except MessageError as error:
            self._turn_down(transport, error)
            return
        self._begin_stream(transport, asked, principal)

    def _stream_by_ticket(self, asked: StreamRequest, found: Grant | MessageError) -> None:
        try:
            principal = self._host.admission.principal_of_ticket(found, self._address)
        except MessageError as error:
            if transport := self._admitted():
                self._turn_down(transport, error)
            return
        if transport := self._admitted():
            self._begin_stream(transport, asked, principal)

    def _begin_stream(
        self, transport: asyncio.Transport, asked: StreamRequest, principal: Principal
    ) -> None:
        metrics.handshakes.labels("accepted").inc()
        stream = EventStream(self._host, self._number, self._address)
        self._host.let_in(stream, principal)
        self._hand_over(transport, stream, b"")
        stream.begin(asked, *self._lines)

    def _redeem(self, ticket: str, then: Callable[[Grant | MessageError], None]) -> None:
        """Go on, in line, when it is known what a ticket stands for."""
        host = self._host

        def redeemed(found: Grant | MessageError) -> None:
            host.pacer.do(self, lambda: then(found))

        host.admission.redeem(ticket, redeemed)

    def _cors_lines(self, origin: str | None) -> list[str]:
        if origin is None or not self._may_connect(origin):
            return answer_lines(None)
        return answer_lines(origin)

    def _upgrade(self, request: RequestHead, end: int) -> None:
        host, transport = self._host, self._admitted()
        if transport is None:
            return
        answer = answer_upgrade(request)
        principal = None
        if answer.accepted:
            try:
                self._check_origin(answer.origin)
                if answer.ticket is not None:
                    self._redeem(
                        answer.ticket, lambda found: self._socket_by_ticket(answer, end, found)
                    )
                    return
                if answer.token is not None:
                    principal = host.admission.principal_of(answer.token, self._address)
            except MessageError as error:
                self._turn_down(transport, error)
                return
        metrics.handshakes.labels("accepted" if answer.accepted else "refused").inc()
        transport.write(answer.data)
        if not answer.accepted:
            transport.close()
            return
        self._begin_socket(transport, end, principal)

    def _socket_by_ticket(self, answer: Answer, end: int, found: Grant | MessageError) -> None:
        principal, refused = None, None
        try:
            principal = self._host.admission.principal_of_ticket(found, self._address)
        except MessageError as error:
            refused = error
        transport = self._admitted()
        if transport is None:
            return
        if refused is not None and refused.code is not ProblemCode.TICKET_NOT_ACCEPTED:
            self._turn_down(transport, refused)
            return
        metrics.handshakes.labels("refused" if refused else "accepted").inc()
        transport.write(answer.data)
        # A browser tells its page nothing of a handshake that failed, but all of a close code.
        self._begin_socket(transport, end, principal, refused)

    def _begin_socket(
        self,
        transport: asyncio.Transport,
        end: int,
        principal: Principal | None,
        refused: MessageError | None = None,
    ) -> None:
        host, rest = self._host, self._head[end:]
        connection = WebSocket(host, self._number, self._address)
        host.let_in(connection, principal)
        host.connections.add(connection)
        if refused is None:
            self._hand_over(transport, connection, rest)
            return
        self._hand_over(transport, connection, b"")
        connection.refuse(refused)
        connection.close(CloseCode.TICKET_NOT_ACCEPTED)
        if rest:
            connection.data_received(rest)

    def _check_origin(self, origin: str | None) -> None:
        if origin is not None and not self._may_connect(origin):
            raise MessageError(ProblemCode.FORBIDDEN, "pages of this origin may not connect")

    def _may_connect(self, origin: str) -> bool:
        return is_one_origin(origin) and self._host.admission.allows_origin(origin)

    def _turn_down(self, transport: asyncio.Transport, error: MessageError) -> None:
        metrics.handshakes.labels("refused").inc()
        transport.write(refused_connection(error, *self._lines))
        transport.close()

    def _turn_away(
        self,
        transport: asyncio.Transport,
        code: ProblemCode,
        detail: str,
        wait_s: float = 1.0,
    ) -> None:
        metrics.handshakes.labels(code).inc()
        retry = f"Retry-After: {math.ceil(wait_s)}"
        transport.write(refusal(code, detail, retry, *self._lines))
        transport.close()

    def _hand_over(
        self, transport: asyncio.Transport, protocol: asyncio.Protocol, rest: bytes
    ) -> None:
        self._fronts.discard(self)
        self._transport = None
        self._head = b""
        hand_over(transport, protocol, rest, ended=self._eof)


def _asks_for_events(request: RequestHead) -> bool:
    return request.method == "GET" and request.target.partition("?")[0] == EVENTS_PATH


def refused_connection(error: MessageError, *lines: str) -> bytes:
    """Refuse a connection with an HTTP response, with additional header lines."""
    if error.code.status == HTTPStatus.UNAUTHORIZED:
        return unauthorized(str(error), *lines, code=error.code).data
    extra = ["Retry-After: 1"] if error.code is ProblemCode.UNAVAILABLE else []
    return refusal(error.code, str(error), *extra, *lines)
