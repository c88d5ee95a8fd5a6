"""Listeners on ports, as far as this user may see them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_LISTENS: Final = "0A"
_COMMAND_MAX: Final = 60


def find_listener(port: int) -> str | None:
    """Name the program that listens on a TCP port, as `nginx (process 812)`; None: unknown."""
    return _from_proc(port) or _from_lsof(port)


def _from_proc(port: int) -> str | None:
    sockets = {f"socket:[{inode}]" for inode in _inodes(port)}
    if not sockets:
        return None
    for pid in filter(str.isdecimal, os.listdir("/proc")):  # noqa: PTH208
        # Processes may end meanwhile, and those of other users show nothing.
        with suppress(OSError):
            links = Path("/proc", pid, "fd")
            if any(os.readlink(links / name) in sockets for name in os.listdir(links)):  # noqa: PTH115, PTH208
                command = Path("/proc", pid, "cmdline").read_bytes().replace(b"\0", b" ")
                return _named(command.decode(errors="replace"), pid)
    return None


def _inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    yield words[9]


def _from_lsof(port: int) -> str | None:
    try:
        said = subprocess.run(  # noqa: S603
            ["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = {line[0]: line[1:] for line in reversed(said.splitlines()) if line}
    return _named(found["c"], found["p"]) if {"c", "p"} <= found.keys() else None


def _named(command: str, pid: str) -> str:
    command = "".join(letter if letter.isprintable() else " " for letter in command).strip()
    short = command if len(command) <= _COMMAND_MAX else f"{command[:_COMMAND_MAX]}…"
    return f"{short or 'a program'} (process {pid})"
