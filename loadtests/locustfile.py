"""Load with locust: clients that time what reaches them, and senders over HTTP.

    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8080
        --ws-url ws://127.0.0.1:8081/

The request type `WS` is the time from POST /notify to the socket, by kind of notification; the
senders put the time of sending into `data`. The sockets are those of the reference client, which
comes back when it is cut off; a hole in a channel's offsets, or a message that came twice, is
counted as a failure of the request `WS contiguous`. Without options of its own it ends by itself:
100 users, 30 s.
"""

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

import gevent
from gevent.event import AsyncResult
from locust import FastHttpUser, User, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.event import EventHook

from sdk.python.roomcast_client import RoomcastClient

USERS: Final = 100
SPAWN_PER_S: Final = 50
RUN_TIME: Final = "30s"
SENDERS_SHARE: Final = 1
SOCKETS_SHARE: Final = 9
ROOMS: Final = 5
POSTS_PER_S: Final = 10
"""Rate of each sender."""
ANSWER_TIMEOUT_S: Final = 10
T = TypeVar("T")
Listener = TypeVar("Listener", bound=Callable[..., None])
_registered: list[str] = []
"""Users that have a socket now, so that private notifications have somebody to reach."""


def listens_to(hook: EventHook) -> Callable[[Listener], Listener]:
    """Register the decorated function with one of locust's hooks, and keep its type."""
    add: Callable[..., object] = hook.add_listener

    def register(listener: Listener) -> Listener:
        add(listener)
        return listener

    return register


@listens_to(events.init_command_line_parser)
def add_options(parser: LocustArgumentParser) -> None:
    """Add `--ws-url`, and bound users and time where nothing is said."""
    parser.add_argument("--ws-url", default="ws://127.0.0.1:8081/", help="where sockets connect")
    parser.set_defaults(
        num_users=USERS,
        spawn_rate=SPAWN_PER_S,
        run_time=RUN_TIME,
        host="http://127.0.0.1:8080",
    )


class Loop:
    """An asyncio loop for all clients, in a greenlet: gevent's selector lets others run."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._greenlet = gevent.spawn(self._loop.run_forever)

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Begin with it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
        """Let other greenlets run until it is done.

        Raises:
            gevent.Timeout: it was not done in time.
        """
        return wait_for(self.start(work), timeout_s)


def wait_for(future: "Future[T]", timeout_s: float | None = None) -> T:
    """Let other greenlets run until a future is done.

    Raises:
        gevent.Timeout: it was not done in time.
    """
    done: AsyncResult = AsyncResult()
    future.add_done_callback(done.set)
    done.get(timeout=timeout_s)
    return future.result()


_loop = Loop()


class SocketUser(User):
    """One registered client in one room; it only listens."""

    weight = SOCKETS_SHARE

    def on_start(self) -> None:
        """Connect and register.

        Raises:
            gevent.Timeout: the gateway is not there.
            RefusedError: it refused.
        """
        self.user = f"load-{random.getrandbits(48):x}"
        url = self.environment.parsed_options.ws_url
        self.client = RoomcastClient(url, self.user, [random.randrange(ROOMS)])
        began = time.perf_counter()
        _loop.run(self.client.__aenter__(), ANSWER_TIMEOUT_S)
        fire(self, "WS", "register", (time.perf_counter() - began) * 1e3, 0)
        _registered.append(self.user)

    @task
    def listen(self) -> None:
        """Time notifications until the user is stopped.

        Raises:
            RefusedError: the gateway will not have it back.
        """
        listening = _loop.start(self.hear())
        try:
            wait_for(listening)
        finally:
            listening.cancel()

    async def hear(self) -> None:
        """Report whatever comes."""
        duplicates = 0
        async for message in self.client:
            if message["type"] == "reset":
                self.fail(f"{message['channel']}: something before {message['offset']} was lost")
            if self.client.duplicates > duplicates:
                duplicates = self.client.duplicates
                self.fail("something came twice")
            sent_ns = (message.get("data") or {}).get("sentAtNs")
            if sent_ns is not None:
                elapsed_ms = (time.time_ns() - int(sent_ns)) / 1e6
                size = len(message["message"])
                fire(self, "WS", f"notify to socket, {message['type']}", elapsed_ms, size)

    def fail(self, reason: str) -> None:
        """Count a failure."""
        fire(self, "WS", "contiguous", 0, 0, RuntimeError(reason))

    def on_stop(self) -> None:
        """Close the socket."""
        if getattr(self, "user", None) in _registered:
            _registered.remove(self.user)
        if hasattr(self, "client"):
            _loop.run(self.client.close(), ANSWER_TIMEOUT_S)


class Sender(FastHttpUser):
    """Posts notifications of all three kinds, most of them private."""

    weight = SENDERS_SHARE
    wait_time = constant_throughput(POSTS_PER_S)

    @task(8)
    def private(self) -> None:
        """Notify one user who has a socket."""
        if _registered:
            self.notify("private", random.choice(_registered))

    @task(2)
    def room(self) -> None:
        """Notify a room."""
        self.notify("room", random.randrange(ROOMS))

    @task(1)
    def broadcast(self) -> None:
        """Notify everybody."""
        self.notify("broadcast", None)

    def notify(self, kind: str, target: str | int | None) -> None:
        """POST one notification that carries the time."""
        body: dict[str, object] = {
            "userId": "load",
            "type": kind,
            "message": "locust",
            "data": {"sentAtNs": str(time.time_ns())},
        }
        if target is not None:
            body["target"] = target
        with self.rest("POST", "/notify", json=body, name=f"/notify {kind}"):
            pass  # what isn't 2xx counts as a failure


def fire(
    user: User, kind: str, name: str, elapsed_ms: float, size: int, error: Exception | None = None
) -> None:
    """Report one measurement to locust's statistics."""
    user.environment.events.request.fire(
        request_type=kind,
        name=name,
        response_time=elapsed_ms,
        response_length=size,
        exception=error,
        context={},
    )
