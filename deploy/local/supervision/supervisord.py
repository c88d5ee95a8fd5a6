"""Configuration of supervisord, and the requests to it while it runs."""

import os
import re
import shlex
import xmlrpc.client
from collections.abc import Iterable
from configparser import RawConfigParser
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from supervisor.xmlrpc import SupervisorTransport

from common.errors import RoomcastError
from deploy.local.parts import Part

# A part that ends sooner than this after its start has failed to start. Its next tries come after
# 1, 2 and 3 seconds; then it is left alone, in the state FATAL, until the console starts it again.
START_S: Final = 3
START_TRIES: Final = 3

_USER: Final = "roomcast"

_COMMENT: Final = re.compile(r"\s[;#]")


class UnfitPathError(RoomcastError):
    """A path that can't be written in supervisord's configuration."""


@dataclass(frozen=True, slots=True)
class Places:
    """The files through which supervisord is run.

    Attributes:
        configuration: its configuration.
        pid: file with its process id, while it runs.
        socket: takes its requests.
        pipes: folder with a named pipe for the output of each part.
    """

    configuration: Path
    pid: Path
    socket: Path
    pipes: Path

    @property
    def lifeline(self) -> Path:
        """Named pipe that the console holds open while it lives."""
        return self.pipes / "lifeline"

    def pipe(self, part: str) -> Path:
        """Return the named pipe of one part."""
        return self.pipes / f"{part}.out"


@dataclass(frozen=True, slots=True)
class PartState:
    """A part as supervisord sees it.

    Attributes:
        state: in supervisord's words.
        pid: 0 if it doesn't run. Its process group has the same number.
    """

    state: str
    pid: int


def write_configuration(
    places: Places, parts: Iterable[Part], project: Path, password: str
) -> None:
    """Write supervisord's configuration, for this user alone, as it holds the password.

    Raises:
        UnfitPathError: a path contains what supervisord takes for a comment.
    """
    parser = RawConfigParser()
    url = f"unix://{places.socket}"
    parser["supervisord"] = {
        "nodaemon": "true",
        "logfile": os.devnull,
        "logfile_maxbytes": "0",
        "pidfile": str(places.pid),
        "loglevel": "info",
        "directory": str(project),
        "childlogdir": str(places.pipes),
    }
    if os.geteuid() == 0:
        # Said explicitly, or supervisord warns at every start.
        parser["supervisord"]["user"] = "root"
    parser["unix_http_server"] = {
        "file": str(places.socket),
        "chmod": "0600",
        "username": _USER,
        "password": password,
    }
    parser["supervisorctl"] = {"serverurl": url, "username": _USER, "password": password}
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for part in parts:
        parser[f"program:{part.name}"] = {
            "command": shlex.join(part.command),
            "priority": str(part.priority),
            "startsecs": str(START_S),
            "startretries": str(START_TRIES),
            "autorestart": "true",
            "stopsignal": part.stop_signal,
            "stopwaitsecs": str(part.stop_wait_s),
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(places.pipe(part.name)),
            "stdout_logfile_maxbytes": "0",
        }
    # However the console ends, even by SIGKILL, nothing may go on without it: this waits for the
    # end of its pipe, ends its parent supervisord, and removes the files that the console would.
    pipe, pipes = shlex.quote(str(places.lifeline)), shlex.quote(str(places.pipes))
    wait = f"read _ < {pipe} || {{ kill $PPID; rm -rf {pipes}; }}"
    parser["program:lifeline"] = {
        "command": shlex.join(("/bin/sh", "-c", wait)),
        "priority": "1",
        "startsecs": "0",
        "autorestart": "false",
        "stdout_logfile": os.devnull,
        "stderr_logfile": os.devnull,
    }
    for section in parser.sections():
        for name, value in parser.items(section):
            if _COMMENT.search(value):
                raise UnfitPathError(f"supervisord would take a part of {value!r} for a comment")
            # supervisord expands %(…)s.
            parser[section][name] = value.replace("%", "%%")
    places.configuration.parent.mkdir(parents=True, exist_ok=True)
    places.configuration.unlink(missing_ok=True)
    places.configuration.touch(mode=0o600)
    with places.configuration.open("w") as file:
        parser.write(file)


class Control:
    """Talks to a running supervisord. Every call blocks: run it in a thread.

    Args:
        socket: takes supervisord's requests.
        password: the one in its configuration.
    """

    def __init__(self, socket: Path, password: str) -> None:
        self._socket = socket
        self._password = password

    def processes(self) -> dict[str, PartState]:
        """Return every part by its name; empty while supervisord is unreachable or stopping."""
        try:
            answer = self._ask("getAllProcessInfo")
        except (OSError, xmlrpc.client.Error):
            return {}
        rows = cast("list[dict[str, Any]]", answer)
        return {row["name"]: PartState(row["statename"], row["pid"]) for row in rows}

    def restart(self, part: str) -> None:
        """Stop a part as Ctrl-C would, and start it again, even after it was given up."""
        for request in ("stopProcess", "startProcess"):
            try:
                # We don't wait for the start: the console shows what goes wrong.
                self._ask(request, part, request == "stopProcess")
            except xmlrpc.client.Fault:
                # It wasn't running, or supervisord itself is starting it now.
                continue

    def stop(self, part: str) -> None:
        """Stop a part and leave it stopped."""
        with suppress(OSError, xmlrpc.client.Error):
            self._ask("stopProcess", part)

    def start(self, part: str) -> None:
        """Start a part that was given up or stopped; do nothing if it runs."""
        with suppress(OSError, xmlrpc.client.Error):
            self._ask("startProcess", part, False)

    def _ask(self, request: str, *arguments: object) -> object:
        # A transport is one connection with a state: each thread has its own.
        transport = SupervisorTransport(_USER, self._password, f"unix://{self._socket}")
        proxy = xmlrpc.client.ServerProxy("http://localhost", transport=transport)
        try:
            return getattr(proxy.supervisor, request)(*arguments)
        finally:
            transport.close()
