"""The peers of the fan-out rows, each as a context manager that yields what wsload drives."""

import contextlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from loadtests.bench.build import CLIMIT
from loadtests.bench.load import Target
from loadtests.bench.session import SERVER_CORE, MissingError, Session
from loadtests.processes import ROOT, accepts, free_port, printed, wait_until

PEERS: Final = ROOT / "loadtests" / "peers"
PEERS_PY: Final = ROOT / "loadtests" / "peers_py"
NCHAN_MODULE: Final = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
INSTALL: Final = "run loadtests/peers/install"

Peer = Callable[[Session, int], contextlib.AbstractContextManager[Target]]


def program(name: str) -> str:
    """Return the path of an installed program.

    Raises:
        MissingError: it isn't there.
    """
    for folder in (None, "/usr/sbin"):
        found = shutil.which(name, path=folder)
        if found:
            return found
    raise MissingError(f"{name} is not installed ({INSTALL})")


def node(package: str) -> str:
    """Return the path of node, if `package` is installed for it.

    Raises:
        MissingError: one of them isn't there.
    """
    if not (PEERS / "node_modules" / package).is_dir():
        raise MissingError(f"npm package {package} is not installed ({INSTALL})")
    return program("node")


@contextlib.contextmanager
def c_loop(session: Session, _redis_port: int) -> Iterator[Target]:
    """Run climit: a C program that send()s one prebuilt frame to every socket in a loop."""
    port, control = free_port(), free_port()
    with session.processes.running("climit", [CLIMIT, str(port), str(control)], SERVER_CORE) as it:
        wait_until(accepts(control), it)
        yield Target(f"ws://127.0.0.1:{port}/", f"raw:{control}", pids=it.pids)


@contextlib.contextmanager
def ws(session: Session, redis_port: int) -> Iterator[Target]:
    """Run ws 8 on Node, fed by Redis.

    Raises:
        MissingError: it isn't installed.
    """
    port = free_port()
    argv: list[str | Path] = [node("ws"), PEERS / "ws.js", str(port), str(redis_port)]
    with session.processes.running("ws", argv, SERVER_CORE) as it:
        wait_until(printed(it, "ready"), it)
        yield Target(
            f"ws://127.0.0.1:{port}/",
            f"redis:{redis_port}",
            first='{"userId":"%d"}',
            answer="registered",
            pids=[it.pid],
        )


@contextlib.contextmanager
def socketio(session: Session, redis_port: int) -> Iterator[Target]:
    """Run Socket.IO with its Redis adapter. What is published is a packet of that adapter.

    Raises:
        MissingError: it isn't installed.
    """
    port = free_port()
    argv: list[str | Path] = [node("socket.io"), PEERS / "socketio.js", str(port), str(redis_port)]
    with session.processes.running("socketio", argv, SERVER_CORE) as it:
        wait_until(printed(it, "ready"), it)
        yield Target(
            f"ws://127.0.0.1:{port}/socket.io/?EIO=4&transport=websocket",
            f"redis:{redis_port}",
            chan="socket.io#/#",
            first='40{"user":"u%d"}',
            template=PEERS / "socketio.template",
            pids=[it.pid],
            flags=["eio"],
        )


@contextlib.contextmanager
def nchan(session: Session, redis_port: int) -> Iterator[Target]:
    """Run Nchan (nginx) with Redis behind it. nginx pins its own worker to the first core.

    Raises:
        MissingError: it isn't installed.
    """
    nginx, port = program("nginx"), free_port()
    if not NCHAN_MODULE.exists():
        raise MissingError(f"nginx's module Nchan is not installed ({INSTALL})")
    folder = session.processes.scratch / f"nchan-{port}"
    folder.mkdir()
    conf = fill(
        PEERS / "nchan.conf",
        folder / "nginx.conf",
        MODULE=NCHAN_MODULE,
        DIR=folder,
        USER="user root;" if os.geteuid() == 0 else "",
        REDIS=redis_port,
        PORT=port,
    )
    with session.processes.running("nchan", [nginx, "-p", folder, "-c", conf]) as it:
        wait_until(accepts(port), it)
        yield Target(
            f"ws://127.0.0.1:{port}/sub", f"http:{port}", chan="/pub/broadcast", pids=it.pids[1:]
        )


@contextlib.contextmanager
def nats(session: Session, _redis_port: int) -> Iterator[Target]:
    """Run a NATS server with WebSocket clients that subscribe to one subject.

    Raises:
        MissingError: it isn't installed.
    """
    binary, port, control = program("nats-server"), free_port(), free_port()
    conf = session.processes.scratch / f"nats-{port}.conf"
    fill(PEERS / "nats.conf", conf, CONTROL=control, PORT=port)
    env = {"GOMAXPROCS": "1"}
    with session.processes.running("nats", [binary, "-c", conf], SERVER_CORE, env) as it:
        wait_until(accepts(port), it)
        wait_until(accepts(control), it)
        yield Target(
            f"ws://127.0.0.1:{port}/",
            f"nats:{control}",
            first='CONNECT {"verbose":false}\r\nSUB broadcast 1\r\n',
            pids=[it.pid],
            flags=["batched"],
        )


@contextlib.contextmanager
def aiohttp_ws(session: Session, _redis_port: int) -> Iterator[Target]:
    """Run aiohttp's WebSocketResponse, which only answers registrations."""
    port = free_port()
    argv: list[str | Path] = [sys.executable, PEERS_PY / "aiohttp_ws.py", str(port)]
    with session.processes.running("aiohttp", argv, SERVER_CORE) as it:
        wait_until(accepts(port), it)
        yield Target(
            f"ws://127.0.0.1:{port}/", first='{"userId":"%d"}', answer="registered", pids=[it.pid]
        )


def fill(template: Path, to: Path, **values: object) -> Path:
    """Write `template` to `to` with every @NAME@ replaced, and return `to`.

    Raises:
        KeyError: the template names something that has no value.
    """
    text = template.read_text()
    body = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    to.write_text(re.sub(r"@([A-Z]+)@", lambda found: str(values[found[1]]), body) + "\n")
    return to
