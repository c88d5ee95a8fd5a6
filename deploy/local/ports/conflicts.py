"""Checks that the ports of the stack are free."""

import errno
import socket
from collections.abc import Iterable
from itertools import combinations

from deploy.local.parts import Listener
from deploy.local.ports.listeners import find_listener


def find_conflicts(listeners: Iterable[Listener]) -> list[str]:
    """List what prevents listening, a sentence for each; empty if all ports are free."""
    listeners = list(listeners)
    twice = [
        f"{one.setting} and {other.setting} are both {one.port}; they must differ"
        for one, other in combinations(listeners, 2)
        if one.port == other.port
    ]
    return twice or [reason for listener in listeners if (reason := _reason_against(listener))]


def _reason_against(listener: Listener) -> str | None:
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        return f"HOST {listener.host!r} is not an address of this machine: {error.strerror}"
    with socket.socket(family, kind) as probe:
        # Connections of an earlier run may linger in TIME_WAIT; they don't prevent listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            where = f"{listener.host}:{listener.port}"
            if error.errno == errno.EADDRINUSE:
                who = find_listener(listener.port) or "something"
                return (
                    f"{listener.setting} {listener.port} is taken: {who} listens on {where} "
                    f"already. Stop it, or set another {listener.setting}"
                )
            return f"{listener.setting} {listener.port} can't be used on {where}: {error.strerror}"
    return None
