"""Roomcast as wsload drives it: through the worker (LPUSH), over HTTP, or the gateway alone."""

import json
from pathlib import Path
from typing import Final

from common.model.channels import (
    BROADCAST_CHANNEL,
    DEFAULT_CLIENT,
    room_channel,
    scoped,
    user_channel,
)
from loadtests.bench.load import Target
from loadtests.processes import Processes
from loadtests.stack import KEYS, Stack

TS: Final = "0000000000000000000"
"""wsload writes the time over these zeros."""
INDEX: Final = "@INDEX"
"""wsload writes the index of a random connection, six digits, over this."""
_MESSAGE: Final = "lorem ipsum dolor sit amet"


def _job(kind: str, target: str | None) -> dict[str, object]:
    job: dict[str, object] = {"userId": 1, "type": kind, "data": {"ts": TS}}
    if target is not None:
        job["target"] = target
    return job


def _text(kind: str, target: str | None, channel: str) -> dict[str, object]:
    """Return what clients get, up to the epoch and offset that wsload adds."""
    return {
        "type": kind,
        "id": "019aa3c2-7a0e-7b41-8c1e-2f5d3b6a9c10",
        "userId": "1",
        "target": target,
        "message": _MESSAGE,
        "data": {"ts": TS},
        "createdAt": "2026-01-01T00:00:00.000Z",
        "channel": channel,
    }


def _registration(user: str, room: str | None = None) -> str:
    """Return the first frame; `%d` or `%06d` in it becomes the connection's index."""
    return json.dumps({"userId": user} if room is None else {"userId": user, "room": room})


def _template(processes: Processes, body: dict[str, object]) -> Path:
    folder = processes.scratch / "templates"
    folder.mkdir(exist_ok=True)
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps(body, separators=(",", ":")))
    return path


def broadcast_by_lpush(processes: Processes, stack: Stack) -> Target:
    """Jobs LPUSHed onto the open door: through worker and gateway."""
    return Target(
        stack.ws_url,
        f"lpush:{stack.redis_port}",
        chan=KEYS.door("high"),
        first=_registration("%d"),
        answer="registered",
        template=_template(processes, _job("broadcast", None)),
        pids=stack.processes["ws_gateway"].pids,
        flags=["offsets"],
    )


def broadcast_by_publish(processes: Processes, stack: Stack) -> Target:
    """Bare PUBLISH of what the worker would publish: the gateway alone, as the peers are driven.

    Afterwards `Stack.set_offset` must tell Redis how far it went.
    """
    epoch, offset = stack.position(BROADCAST_CHANNEL)
    return Target(
        stack.ws_url,
        f"publication:{stack.redis_port}",
        chan=KEYS.pub(scoped(BROADCAST_CHANNEL)),
        first=_registration("%d"),
        answer="registered",
        template=_template(processes, _text("broadcast", None, BROADCAST_CHANNEL)),
        pids=stack.processes["ws_gateway"].pids,
        flags=["offsets"],
        options={"epoch": epoch, "from-offset": offset},
    )


def room_by_lpush(processes: Processes, stack: Stack, room: str) -> Target:
    """Jobs for one room in which every connection is."""
    return Target(
        stack.ws_url,
        f"lpush:{stack.redis_port}",
        chan=KEYS.door("high"),
        first=_registration("member-%d", room),
        answer="registered",
        template=_template(processes, _job("room", room)),
        flags=["offsets"],
    )


def room_by_publish(
    processes: Processes, stack: Stack, room: str, client: str = DEFAULT_CLIENT, token: str = ""
) -> Target:
    """Bare PUBLISH to one room in which every connection is. The room must be silent so far.

    With a token, all are the connections of its user `member`.
    """
    epoch, offset = stack.position(room_channel(room))
    first = _registration("member-%d", room)
    if token:
        first = json.dumps({"userId": "member", "room": room, "token": token})
    return Target(
        stack.ws_url,
        f"publication:{stack.redis_port}",
        chan=KEYS.pub(scoped(room_channel(room), client)),
        first=first,
        answer="registered",
        template=_template(processes, _text("room", room, room_channel(room))),
        flags=["offsets"],
        options={"epoch": epoch, "from-offset": offset},
    )


def private_by_lpush(processes: Processes, stack: Stack, prefix: str) -> Target:
    """Private jobs for random users out of `<prefix>000000`…, each with one connection."""
    return Target(
        stack.ws_url,
        f"lpush:{stack.redis_port}",
        first=_registration(prefix + "%06d"),
        answer="registered",
        template=_template(processes, _job("private", prefix + INDEX)),
        pids=stack.processes["ws_gateway"].pids,
        flags=["offsets"],
        options={"priv": KEYS.door("high")},
    )


def private_by_post(processes: Processes, stack: Stack, prefix: str) -> Target:
    """The same by POST /notify: through server, worker and gateway."""
    return Target(
        stack.ws_url,
        f"http:{stack.ports['server']}",
        first=_registration(prefix + "%06d"),
        answer="registered",
        template=_template(processes, _job("private", prefix + INDEX)),
        pids=stack.processes["ws_gateway"].pids,
        flags=["offsets"],
        options={"priv": "/notify"},
    )


def private_by_publish(processes: Processes, stack: Stack, prefix: str) -> Target:
    """The same by bare PUBLISH: the gateway alone. The users must have had no message before."""
    epoch, _ = stack.position(user_channel(prefix))
    return Target(
        stack.ws_url,
        f"publication:{stack.redis_port}",
        first=_registration(prefix + "%06d"),
        answer="registered",
        template=_template(processes, _text("private", prefix + INDEX, user_channel(prefix))),
        pids=stack.processes["ws_gateway"].pids,
        flags=["offsets"],
        options={
            "priv": KEYS.pub(scoped(user_channel(prefix + "%06d"))),
            "epoch": epoch,
        },
    )
