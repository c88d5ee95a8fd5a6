"""Load with locust: sockets that time what reaches them, and senders over HTTP.

    locust -f loadtests/locustfile.py --headless --host http://127.0.0.1:8080
        --ws-url ws://127.0.0.1:8081/

The request type `WS` is the time from POST /notify to the socket, by kind of notification; the
senders put the time of sending into `data`. A hole in a channel's offsets is counted as a failure
of the request `WS contiguous`. Without options of its own it ends by itself: 100 users, 30 s.
"""

import contextlib
import json
import random
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

import websocket
from locust import FastHttpUser, User, constant_throughput, events, task
from locust.argument_parser import LocustArgumentParser
from locust.event import EventHook

USERS: Final = 100
SPAWN_PER_S: Final = 50
RUN_TIME: Final = "30s"
SENDERS_SHARE: Final = 1
SOCKETS_SHARE: Final = 9
ROOMS: Final = 5
POSTS_PER_S: Final = 10
"""Of each sender."""
ANSWER_TIMEOUT_S: Final = 10
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


class SocketUser(User):
    """One registered socket in one room; it only listens."""

    weight = SOCKETS_SHARE

    def on_start(self) -> None:
        """Connect and register.

        Raises:
            OSError: the gateway is not there.
            websocket.WebSocketException: it refused.
        """
        self.user = f"load-{random.getrandbits(48):x}"
        self.offsets: dict[str, tuple[str, int]] = {}
        began = time.perf_counter()
        self.socket = websocket.create_connection(
            self.environment.parsed_options.ws_url, timeout=ANSWER_TIMEOUT_S
        )
        self.socket.send(json.dumps({"userId": self.user, "room": random.randrange(ROOMS)}))
        answer = json.loads(self.socket.recv())
        fire(self, "WS", "register", (time.perf_counter() - began) * 1e3, len(str(answer)))
        for channel, position in answer["channels"].items():
            self.offsets[channel] = (position["epoch"], position["offset"])
        self.socket.settimeout(None)
        _registered.append(self.user)

    @task
    def listen(self) -> None:
        """Time one notification.

        Raises:
            websocket.WebSocketException: the gateway closed the connection.
        """
        text = self.socket.recv()
        if not text:
            raise websocket.WebSocketConnectionClosedException("closed by the gateway")
        notification = json.loads(text)
        if "offset" not in notification:
            return
        self.check_offset(notification)
        sent_ns = (notification.get("data") or {}).get("sentAtNs")
        if sent_ns is not None:
            elapsed_ms = (time.time_ns() - int(sent_ns)) / 1e6
            fire(self, "WS", f"notify to socket, {notification['type']}", elapsed_ms, len(text))

    def check_offset(self, notification: dict[str, Any]) -> None:
        """Count a failure unless the offset follows the last one of its channel."""
        channel, epoch = notification["channel"], notification["epoch"]
        before = self.offsets.get(channel)
        offset = notification["offset"]
        if before and before[0] == epoch and offset != before[1] + 1:
            error = RuntimeError(f"{channel}: offset {offset} after {before[1]}")
            fire(self, "WS", "contiguous", 0, 0, error)
        self.offsets[channel] = (epoch, offset)

    def on_stop(self) -> None:
        """Close the socket."""
        if getattr(self, "user", None) in _registered:
            _registered.remove(self.user)
        if hasattr(self, "socket"):
            with contextlib.suppress(OSError, websocket.WebSocketException):
                self.socket.close(timeout=1)


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
