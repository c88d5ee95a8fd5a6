"""Console: the lines of all processes that a person should see, prefixed with their names."""

import asyncio
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, Final, Protocol

from deploy.local.console.log_files import LogFiles

_COLOURS: Final = ("36", "33", "32", "35", "34", "31")
_WIDTH: Final = 11

# A line without an end must not grow in memory for ever.
_MAX_LINE_BYTES: Final = 65_536

# A line of `common.telemetry.logs` for a terminal: time, process, the rest. The process is moved to
# the front instead of being repeated, and so keeps its replica's number.
_LOG_LINE: Final = re.compile(rb"(\d\d:\d\d:\d\d) ([a-z_]+(?:\.\d+)?) +(.*)", re.DOTALL)

# One of our lines that a person should act on: as text, or as JSON.
_LOUD: Final = re.compile(
    rb"\d\d:\d\d:\d\d [a-z_]+(?:\.\d+)? +(?:WARNING|ERROR|CRITICAL) "
    rb'|\{.*"level": "(?:WARNING|ERROR|CRITICAL)"|setting [A-Z_]+ is refused'
)

# The lines of `common.telemetry.outage`: after a warning, its end should be visible, too, though it
# is not a warning.
_OUTAGE: Final = re.compile(
    rb"\d\d:\d\d:\d\d ([a-z_.0-9]+) +(?:WARNING +(.+) (?:does not answer|refuses a request)"
    rb"|INFO +(.+) answers again)\b.*"
)


class Lines(Protocol):
    """Receiver of the lines of processes."""

    def line(self, name: str, line: bytes) -> None:
        """Take one line (without its line end) of a process."""


class Console:
    """Writer of prefixed lines.

    Every line goes to its process's log file, if there are log files. The terminal gets all of
    them if it is `verbose`, and otherwise our own processes' warnings and errors.

    Args:
        names: the processes; each gets a colour of its own on a terminal.
        output: the terminal; it may go away.
        logs: the log files.
        verbose: whether the terminal gets every line.
    """

    def __init__(
        self,
        names: Sequence[str],
        output: BinaryIO | None = None,
        logs: LogFiles | None = None,
        *,
        verbose: bool = True,
    ) -> None:
        self._logs = logs
        self._verbose = verbose
        self._output = output or sys.stdout.buffer
        coloured = self._output.isatty()
        self._colours = dict(zip(names, _COLOURS, strict=False)) if coloured else {}
        self._outages: set[tuple[bytes, bytes]] = set()

    def line(self, name: str, line: bytes) -> None:
        """Write one line (without its line end) of a process."""
        if self._logs:
            self._logs.write(name, line)
        if self._ends_outage(line) or self._verbose or _LOUD.match(line):
            self._show(name, line)

    def _ends_outage(self, line: bytes) -> bool:
        if not (match := _OUTAGE.fullmatch(line)):
            return False
        process, lost, back = match.groups()
        if lost:
            self._outages.add((process, lost))
            return False
        found = (process, back) in self._outages
        self._outages.discard((process, back))
        return found

    def _show(self, name: str, line: bytes) -> None:
        said_by = name
        if (match := _LOG_LINE.fullmatch(line)) and _is_replica(match[2], name):
            said_by = match[2].decode()
            line = match[1] + b" " + match[3]
        prefix = f"{said_by:<{_WIDTH}}| ".encode()
        if colour := self._colours.get(name):
            prefix = b"\x1b[" + colour.encode() + b"m" + prefix + b"\x1b[0m"
        self._write(prefix + line + b"\n")

    def text(self, name: str, text: str) -> None:
        """Write a text of one or more lines for a person to see."""
        for line in text.splitlines():
            if self._logs:
                self._logs.write(name, line.encode())
            if self._verbose:
                self._show(name, line.encode())
            else:
                self._write(line.encode() + b"\n")

    def plain(self, text: str) -> None:
        """Write a text without prefixes, to be copied."""
        self._write(text.encode())

    def _write(self, line: bytes) -> None:
        # The terminal was closed, or `| head` ended: the stack goes on, or stops in order.
        with suppress(OSError, ValueError):
            self._output.write(line)
            self._output.flush()


class LineProtocol(asyncio.Protocol):
    """Splits the data of a pipe into lines and passes them on.

    Args:
        console: gets the lines.
        name: whose lines they are.
    """

    def __init__(self, console: Lines, name: str) -> None:
        self._console = console
        self._name = name
        self._rest = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        """Write complete lines, and keep the rest."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        for line in lines:
            self._console.line(self._name, line.removesuffix(b"\r"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Write the last line, even without a line end."""
        if self._rest:
            self._console.line(self._name, self._rest)
        if not self.ended.done():
            self.ended.set_result(None)


def _is_replica(said: bytes, name: str) -> bool:
    return said.partition(b".")[0] in (name.encode(), f"ws_{name}".encode())
