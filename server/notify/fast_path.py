"""Fast path for `POST /notify`, in front of aiohttp on the same port.

aiohttp spends several times the cost of validating and queueing a notification on the request
around it. This protocol reads the plain form of the one hot request with httptools (llhttp) and
gives it to the same `Intake`. At the first request of another form (another path or method, a
chunked body, `Expect`, an upgrade, `Origin`, `Connection: close`, a malformed head) the connection,
with all its unanswered bytes, is handed to aiohttp for good. Only the speed differs.
"""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final, cast

from common.auth.principal import Principal
from common.model.problems import Problem, closing_answer
from common.process.periodic import every
from common.web.hand_over import hand_over
from common.web.request_head import END, HEAD_MAX_BYTES, HEAD_TIMEOUT_S, IDLE_TIMEOUT_S, late_head
from common.web.slices import SLICE_BYTES, SLICE_REQUESTS, UNREAD_MAX_BYTES, Slices
from server.access.client_limits import LimitCounters, Limiter
from server.access.credentials import CredentialCheck
from server.access.route_access import Access, allow
from server.notify.handler import ACCEPTED_HEADERS, Intake, Reply, refused
from server.notify.head_cache import Head, HeadReader, may_be_plain

SWEEP_INTERVAL_S: Final = 1.0
KNOWN_S: Final = 0.25
"""Seconds for which the credentials on a connection are not looked up again."""
_REASONS: Final = {int(status): status.phrase for status in HTTPStatus}


class NotifyFront(asyncio.Protocol):
    """One connection to the server's port.

    Args:
        heads: reads the heads of requests.
        intake: answers the request.
        credentials: authenticates the sender.
        limiter: has the limits of its client.
        aiohttp_handler: makes the protocol that takes over.
        connections: contains this connection while it is served here.
        slices: gives further loop turns to work that does not fit into one.
    """

    def __init__(
        self,
        heads: HeadReader,
        intake: Intake,
        credentials: CredentialCheck,
        limiter: Limiter,
        aiohttp_handler: Callable[[], asyncio.Protocol],
        connections: set["NotifyFront"],
        slices: Slices,
    ) -> None:
        self._heads = heads
        self._intake = intake
        self._credentials = credentials
        self._limiter = limiter
        self._aiohttp_handler = aiohttp_handler
        self._connections = connections
        self._slices = slices
        self._shown: tuple[str | None, str | None] | None = None
        self._asks: Principal | None = None
        """Sender of the last request, whose credentials were those."""
        self._refusal: Problem | None = None
        """Reason why that sender may not notify, if so."""
        self._asked_until = 0.0
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._at = 0
        """Offset in `_unread` of the next request."""
        self._answering = False
        self._reading = False
        self._queued = False
        self._deaf = False
        self._choked = False
        self._eof = False
        self._since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start serving the connection."""
        # uvloop's transports are not subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; the answer to a running request is dropped, its job stays."""
        self._transport = None
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        """Read on; while a request is being answered, the data waits, and so does the sender."""
        if not self._unread:
            self._since = time.monotonic()
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if not self._queued:
            self._go_on(SLICE_REQUESTS)
        elif self._transport:
            self._listen_if_wanted(self._transport)

    def eof_received(self) -> bool:
        """Keep the transport while there is something to answer."""
        self._eof = True
        if self._transport is None or self._transport.get_extra_info("sslcontext"):
            # TLS has no half-closed state: a peer that closed receives nothing more.
            self._unread, self._at = b"", 0
            return False
        return self._answering or self._queued or self._choked

    def pause_writing(self) -> None:
        """Stop answering a peer that doesn't read its answers."""
        self._choked = True
        if self._transport:
            self._listen_if_wanted(self._transport)

    def resume_writing(self) -> None:
        """Go on when the peer reads again."""
        self._choked = False
        self._go_on_later()

    def stop(self) -> None:
        """Close, after the answer to a running request."""
        self._eof = True
        if not self._answering and self._transport:
            self._transport.close()

    def close_if_overdue(self, now: float) -> None:
        """Close the connection if it waited for a head, or was idle, for too long."""
        if self._transport is None or self._answering or self._queued:
            return
        waited = now - self._since
        if self._choked:
            if waited > IDLE_TIMEOUT_S:
                # Otherwise it would wait for ever for its peer to read before it closes.
                self._transport.abort()
            return
        if self._unread and waited > HEAD_TIMEOUT_S:
            self._transport.write(closing_answer(late_head()))
            self._transport.close()
        elif waited > IDLE_TIMEOUT_S:
            self._transport.close()

    def _go_on(self, most: int) -> None:
        """Read and answer at most `most` requests, and queue for the rest."""
        if self._reading:
            return
        self._reading = True
        ends = self._at + SLICE_BYTES
        while self._unread and self._transport and not (self._answering or self._choked):
            if not most or self._at >= ends:
                self._go_on_later()
                break
            most -= 1
            if not self._read_one():
                break
            if self._unread and self._transport and self._transport.is_closing():
                # An answer failed because the peer is gone; each of the rest would be logged, too.
                self._unread, self._at = b"", 0
        self._reading = False
        if self._transport:
            self._listen_if_wanted(self._transport)
            if self._eof and not (self._answering or self._queued or self._choked):
                self._transport.close()

    def _go_on_later(self) -> None:
        if not self._queued:
            self._queued = True
            self._slices.later(self._take_slice)

    def _take_slice(self) -> None:
        self._queued = False
        self._go_on(SLICE_REQUESTS)

    def _listen_if_wanted(self, transport: asyncio.Transport) -> None:
        deaf = self._choked or len(self._unread) - self._at > UNREAD_MAX_BYTES
        if deaf != self._deaf:
            self._deaf = deaf
            if deaf:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _read_one(self) -> bool:
        unread, at = self._unread, self._at
        begins = unread.find(END, at, at + HEAD_MAX_BYTES) + len(END)
        if begins < len(END) and may_be_plain(unread[at : at + HEAD_MAX_BYTES]):
            return False
        head = self._heads.read(unread, at, begins)
        if head is None:
            self._hand_over()
            return False
        ends = begins + head.length
        body = unread[begins:ends]
        if ends == len(unread):
            self._unread, self._at = b"", 0
        else:
            self._at = ends
        self._answering = True
        try:
            principal = self._who(head)
        except Problem as problem:
            self._reply(refused(problem))
            return True

        counters = self._limiter.of(principal)
        if counters is None or counters.requests.take(1):
            self._answer(body, head, principal)
        else:
            self._answer_if_allowed(counters, body, head, principal)
        return True

    def _answer(self, body: bytes, head: Head, principal: Principal) -> None:
        if self._refusal is not None:
            self._reply(refused(self._refusal))
            return
        self._intake.answer(
            body, head.content_type or "", head.idempotency_key, principal, self._reply
        )

    def _answer_if_allowed(
        self, counters: LimitCounters, body: bytes, head: Head, principal: Principal
    ) -> None:
        def counted(problem: Problem | None) -> None:
            if problem is None:
                self._answer(body, head, principal)
            else:
                self._reply(refused(problem))

        counters.request(counted)

    def _who(self, head: Head) -> Principal:
        """Authenticate the sender; the same credentials as before on this connection are cached."""
        shown, now = (head.authorization, head.api_key), time.monotonic()
        if self._asks is not None and now < self._asked_until and shown == self._shown:
            return self._asks
        principal = self._credentials.principal(
            self._transport, head.authorization, head.api_key, head.forwarded_for
        )
        self._refusal = None
        try:
            allow(Access.NOTIFY, principal)
        except Problem as problem:
            # Answered after the request was counted: it costs as much as any other.
            self._refusal = problem
        self._shown, self._asks, self._asked_until = shown, principal, now + KNOWN_S
        return principal

    def _reply(self, reply: Reply) -> None:
        self._answering = False
        if self._transport is None:
            return
        self._since = time.monotonic()
        self._transport.write(_encode(reply))
        if self._unread:
            # Only one: this may be one of many answers that came at once.
            self._go_on(1)
        elif self._eof:
            self._transport.close()

    def _hand_over(self) -> None:
        transport, self._transport = self._transport, None
        if transport is None:
            return
        self._connections.discard(self)
        unread, self._unread = self._unread[self._at :], b""
        hand_over(transport, self._aiohttp_handler(), unread, ended=self._eof)


async def close_overdue(connections: set[NotifyFront]) -> None:
    """Enforce the time limits of all connections, until cancelled."""

    async def sweep() -> None:
        now = time.monotonic()
        for connection in list(connections):
            connection.close_if_overdue(now)

    await every(SWEEP_INTERVAL_S, sweep, waits_first=True)


def _encode(reply: Reply) -> bytes:
    if reply.headers is ACCEPTED_HEADERS:
        head = _ACCEPTED_HEAD
    else:
        head = _head(reply.status, reply.headers)
    if reply.lines:
        head += reply.lines.encode("latin-1")
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(reply.body), reply.body)


def _head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS[status]}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
    return "".join(lines).encode("latin-1")


_ACCEPTED_HEAD: Final = _head(202, ACCEPTED_HEADERS)
