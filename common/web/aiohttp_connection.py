"""HTTP connections that an aiohttp application answers, on every port.

We use aiohttp's routing, requests and responses, but not its parser: heads and bodies are read by
`common/web/request_head.py` and `common/web/request_body.py`, one request at a time, in slices of a
loop turn, and nothing is ever decompressed or upgraded.
"""

import asyncio
import logging
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from aiohttp import HttpVersion, web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from common.model.problem_codes import ProblemCode
from common.model.problems import Problem, closing_answer
from common.web.problem_middleware import problem_response
from common.web.request_body import BodyError, ChunkedBody, SizedBody
from common.web.request_head import (
    END,
    HEAD_MAX_BYTES,
    HEAD_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    RequestHead,
    bad_head,
    check_beginning,
    late_head,
    read_head,
    text_of,
)
from common.web.slices import UNREAD_MAX_BYTES, Slices

READ_AHEAD_BYTES: Final = 64 * 1024
"""Bytes of a body that wait for their handler; past twice as many, reading pauses."""
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1024 * 1024
_ABSOLUTE: Final = re.compile(r"https?://[^/?#]+", re.IGNORECASE)
_LEFT_AMID_BODY: Final = "the body ended before its end"
log = logging.getLogger("roomcast.http")


class _NoParser:
    """Placeholder for aiohttp's own parser."""

    def message_consumed(self) -> None:
        """Do nothing."""


_NO_PARSER: Final[Any] = _NoParser()


class _BodyStream(StreamReader):
    """A body whose first read tells the peer to send it (RFC 9110, section 10.1.1)."""

    __slots__ = ("_ask_for_it",)

    def __init__(self, protocol: "PlainHttp", ask_for_it: Callable[[], None]) -> None:
        super().__init__(protocol, READ_AHEAD_BYTES, loop=asyncio.get_running_loop())
        self._ask_for_it = ask_for_it

    async def readany(self) -> bytes:
        """Read all bytes that have arrived."""
        if not self.total_bytes and not self.is_eof():
            self._ask_for_it()
        return await super().readany()


class PlainHttp(web.RequestHandler):
    """One connection that aiohttp serves.

    Invalid HTTP is the peer's fault: it is answered with 400 and not logged as an error, or
    anybody could fill the logs with tracebacks.

    Args:
        server: whose connection it is.
        slices: gives further loop turns to work that does not fit into one.
    """

    __slots__ = (
        "_answering", "_at", "_body", "_deaf", "_eof", "_is_last", "_lingered", "_must_continue",
        "_payload", "_queued", "_slices", "_timer", "_unread", "_working",
    )  # fmt: skip

    def __init__(self, server: web.Server, slices: Slices) -> None:
        no_log: Any = None
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=no_log,
            keepalive_timeout=IDLE_TIMEOUT_S,
        )
        self._parser = _NO_PARSER
        self._slices = slices
        self._unread = b""
        self._at = 0
        """Offset in `_unread` to continue from."""
        self._body: SizedBody | ChunkedBody | None = None
        """Body of the request whose head was read last, until all of it has arrived."""
        self._payload: StreamReader = EMPTY_PAYLOAD
        self._answering = False
        self._must_continue = False
        """True if the peer waits for `100 Continue` before it sends its body."""
        self._is_last = False
        """True if no further request is read."""
        self._lingered = -1
        """Bytes that were dropped since the last answer; -1: it was not sent yet."""
        self._working = False
        self._queued = False
        self._deaf = False
        self._eof = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start waiting for the first head."""
        super().connection_made(transport)
        self._set_timer(HEAD_TIMEOUT_S, self._give_up_head)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Fail a body that a handler waits for: the rest won't come."""
        self._set_timer()
        self._fail_body(_LEFT_AMID_BODY)
        self._unread = b""
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; while a request is being answered, the data waits, and so does the sender."""
        if self._is_last and self._body is None:
            self._drop(data)
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if self._queued:
            self._listen_if_wanted()
        else:
            self._go_on()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio's may, aiohttp's never does
        """Keep the transport while there is something to answer."""
        self._eof = True
        if self.transport is None or self.transport.get_extra_info("sslcontext"):
            # TLS has no half-closed state: a peer that closed receives nothing more.
            self.force_close()
            return False
        if not self._queued:
            self._go_on()
        return not self._force_close

    def pause_writing(self) -> None:
        """Stop answering a peer that doesn't read its answers, and disconnect it after a while."""
        super().pause_writing()
        self._set_timer(IDLE_TIMEOUT_S, self._abort)
        self._listen_if_wanted()

    def resume_writing(self) -> None:
        """Go on when the peer reads again."""
        self._set_timer()
        super().resume_writing()
        self._go_on_later()

    def pause_reading(self) -> None:
        """Pause until the handler has read the buffered part of a body."""
        self._reading_paused = True
        self._listen_if_wanted()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Go on when the handler has read it."""
        if self._reading_paused:
            self._reading_paused = False
            self._go_on_later()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Answer, then read the next request."""
        if self._must_continue or self._payload.exception() is not None:
            # The end of its body is unknown.
            resp.force_close()
        found = await super().finish_response(request, resp, start_time)
        if self._payload.exception() is not None:
            # aiohttp would read on, and log that as its own error.
            self._payload.feed_eof()
        self._answering = False
        self._is_last = self._is_last or not found[0].keep_alive
        self._go_on_later()
        return found

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that its handler failed on, and close."""
        if self.transport is None and isinstance(exc, ConnectionError):
            log.debug("a peer left before its answer", extra={"reason": str(exc)})
            raise ConnectionError("the peer left") from exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            super().handle_error(request, status, exc, message)
            problem = Problem(
                ProblemCode.INTERNAL,
                "the server is at fault; its log says why",
                other_status=HTTPStatus(status),
            )
        else:
            log.debug("not HTTP", extra={"reason": str(message)})
            if request.writer.output_size:
                raise ConnectionError("an answer has begun already")
            problem = Problem(
                ProblemCode.NOT_HTTP, message or "not HTTP", other_status=HTTPStatus(status)
            )
        response = problem_response(problem)
        response.force_close()
        return response

    def _go_on(self) -> None:
        if self._working:
            return
        self._working = True
        try:
            self._read()
        finally:
            self._working = False
        if self._at == len(self._unread):
            self._unread, self._at = b"", 0
        if self._eof and not (self._queued or self._paused):
            self._end_after_eof()
        self._listen_if_wanted()

    def _read(self) -> None:
        """Read the rest of a body and the next head, as far as a slice goes."""
        pieces = 0
        while self._at < len(self._unread) and self.transport and not self._force_close:
            if self._body is not None:
                if self._reading_paused:
                    return
                if pieces:
                    self._go_on_later()
                    return
                pieces += 1
                if not self._take_piece(self._body):
                    return
            elif self._is_last:
                self._drop(b"")
                return
            elif self._answering or self._paused or not self._read_head():
                return

    def _read_head(self) -> bool:
        data, at = self._unread, self._at
        ends = data.find(END, at, at + HEAD_MAX_BYTES)
        try:
            if ends < 0:
                check_beginning(data[at : at + HEAD_MAX_BYTES])
                if self._timer is None:
                    self._set_timer(HEAD_TIMEOUT_S, self._give_up_head)
                return False
            ends += len(END)
            head = read_head(data[at:ends])
            url = url_of(head)
        except Problem as problem:
            self._refuse(problem)
            return False
        self._at = ends
        self._set_timer()
        self._begin(head, url)
        return True

    def _begin(self, head: RequestHead, url: URL) -> None:
        """Hand a request to aiohttp."""
        if head.is_chunked or head.length:
            self._body = ChunkedBody() if head.is_chunked else SizedBody(head.length)
            self._payload = _BodyStream(self, self._continue)
            self._must_continue = head.version == (1, 1) and head.names(b"expect", b"100-continue")
        else:
            self._payload = EMPTY_PAYLOAD
        fields = CIMultiDict([(name.decode("ascii"), text_of(value)) for name, value in head.lines])
        # With it, aiohttp would send `100 Continue` before any handler saw the request.
        fields.popall("Expect", None)
        message = RawRequestMessage(
            head.method,
            head.target,
            HttpVersion(*head.version),
            CIMultiDictProxy(fields),
            tuple(head.lines),
            not head.keeps_alive,
            None,
            False,
            head.is_chunked,
            url,
        )
        self._answering = True
        self._is_last = not head.keeps_alive
        self._request_count += 1
        self._messages.append((message, self._payload))
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _continue(self) -> None:
        if self._must_continue and self._answering and self.transport is not None:
            self._must_continue = False
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _take_piece(self, body: SizedBody | ChunkedBody) -> bool:
        before = self._at
        try:
            piece, self._at = body.take(self._unread, before)
        except BodyError as error:
            self._is_last = True
            if self._answering:
                self._fail_body(str(error))
            else:
                self.force_close()
            return False
        if piece:
            self._must_continue = False
            self._payload.feed_data(piece)
        if body.is_complete:
            self._body = None
            self._payload.feed_eof()
        return self._at > before

    def _fail_body(self, reason: str) -> None:
        """Give up on the rest of a body."""
        if self._body is None:
            return
        self._body = None
        if self._answering:
            self._payload.set_exception(web.RequestPayloadError(reason))
        else:
            # A handler that refused the request without its body only waits for its end.
            self._payload.feed_eof()

    def _end_after_eof(self) -> None:
        """End whatever waits for more data, after the peer's last byte was read."""
        if not self._reading_paused:
            self._fail_body(_LEFT_AMID_BODY)
        if not self._answering and self._body is None:
            self.force_close()

    def _refuse(self, problem: Problem) -> None:
        """Refuse malformed input; nothing after it can be a request."""
        self._set_timer()
        self._is_last = True
        if self.transport is None:
            return
        log.debug("not HTTP", extra={"reason": problem.detail})
        self.transport.write(closing_answer(problem))
        if self._eof or not self.transport.can_write_eof():
            self.force_close()
            return
        # If we closed with bytes unread, a reset would lose the answer.
        self._lingered = 0
        self._drop(b"")
        if not self._force_close:
            self.transport.write_eof()
            self._set_timer(_LINGER_S, self.force_close)

    def _drop(self, data: bytes) -> None:
        if self._lingered >= 0:
            self._lingered += len(self._unread) - self._at + len(data)
            if self._lingered > _LINGER_BYTES:
                self.force_close()
        self._unread, self._at = b"", 0

    def _go_on_later(self) -> None:
        if not self._queued and (self._unread or self._eof):
            self._queued = True
            self._slices.later(self._take_slice)
        else:
            self._listen_if_wanted()

    def _take_slice(self) -> None:
        self._queued = False
        self._go_on()

    def _listen_if_wanted(self) -> None:
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        deaf = (
            self._reading_paused or self._paused or len(self._unread) - self._at > UNREAD_MAX_BYTES
        )
        if deaf != self._deaf:
            self._deaf = deaf
            if deaf:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _set_timer(self, delay_s: float = 0.0, then: Callable[[], None] | None = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if then is None else self._loop.call_later(delay_s, then)

    def _give_up_head(self) -> None:
        self._timer = None
        if self._unread and not self._answering:
            self._refuse(late_head())
        elif not self._request_count:
            self.force_close()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()


def url_of(head: RequestHead) -> URL:
    """Parse the target of a request, without the host of an absolute one.

    Raises:
        Problem: 400; the target is invalid.
    """
    target = head.target.partition("#")[0]
    absolute = _ABSOLUTE.match(target)
    if absolute is not None:
        target = target[absolute.end() :]
        if not target.startswith("/"):
            target = f"/{target}"
    if not target.startswith("/") and (target, head.method) != ("*", "OPTIONS"):
        raise bad_head("a target is a path")
    path, _, query = target.partition("?")
    try:
        return URL.build(path=path, query_string=query, encoded=True)
    except ValueError as error:
        raise bad_head(f"a target is a path: {error}") from None


def plain_http(runner: web.AppRunner, slices: Slices) -> Callable[[], PlainHttp]:
    """Make a factory of connections to a runner's application; the runner must be set up."""
    server = runner.server
    assert server is not None
    return lambda: PlainHttp(server, slices)


class PlainSite(web.BaseSite):
    """A port whose requests are all answered by aiohttp.

    Args:
        runner: of the application; it is set up.
        host: address to listen on.
        port: number of the port.
        reuse_port: whether other processes listen there, too.
    """

    __slots__ = ("_handler", "_host", "_port", "_reuse_port")

    def __init__(self, runner: web.AppRunner, host: str, port: int, *, reuse_port: bool) -> None:
        super().__init__(runner)
        self._handler = plain_http(runner, Slices(asyncio.get_running_loop()))
        self._host = host
        self._port = port
        self._reuse_port = reuse_port

    @property
    def name(self) -> str:
        """URL of the site."""
        return f"http://{self._host}:{self._port}"

    async def start(self) -> None:
        """Start listening.

        Raises:
            OSError: the port is taken.
        """
        await super().start()
        self._server = await asyncio.get_running_loop().create_server(
            self._handler, self._host, self._port, reuse_port=self._reuse_port
        )
