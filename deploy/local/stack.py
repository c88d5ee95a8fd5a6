"""The running stack: supervisord, the output of its parts, and its end."""

import asyncio
import os
import re
import shlex
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp

from deploy.local.console.console import Console, LineProtocol, Lines
from deploy.local.console.log_files import LogFiles
from deploy.local.parts import LOOPBACK, Part
from deploy.local.supervision.reload import watch
from deploy.local.supervision.supervisord import START_TRIES, Control, PartState, Places

RUNNER: Final = "runner"

_LOOK_EVERY_S: Final = 0.3
_COMPLAIN_AFTER_S: Final = 20
_PROBE_TIMEOUT_S: Final = 2
_TAIL_LINES: Final = 15

# Seconds before a part that was given up is started again: twice as long each time.
_FIRST_WAIT_S: Final = 2.0
_LONGEST_WAIT_S: Final = 30.0
_AGAIN_S: Final = 10.0
"""Seconds that a part must run after it ended or was given up to be reported as running again."""
_STEADY_S: Final = 30.0
"""Seconds of running after which a part's tries and waits start again from the first."""

_EXITED: Final = re.compile(rb".* exited: (\w+) \((.+?)(?:; (?:not )?expected)?\)")
_NOT_LISTENING: Final = "not listening yet"
_NO_CLIENT: Final = "no client is known: "


@dataclass(frozen=True, slots=True)
class Start:
    """Conditions that a start waits for, and the texts that it then shows.

    Attributes:
        urls: URL per part that answers 200 once the part is ready.
        ports: port per store that takes connections once the store is ready.
        screen: shown when all are ready.
        first_client: shown when only a first client is missing.
        reload: parts restart when their sources change, and none is given up.
    """

    urls: Mapping[str, str]
    ports: Mapping[str, int]
    screen: str
    first_client: str
    reload: bool


class Stack:
    """Runs supervisord until it is asked to stop.

    Args:
        parts: the parts in supervisord's configuration.
        places: its files.
        control: its interface.
        console: gets every line.
        logs: the console's log files.
        project: folder that everything runs in.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        places: Places,
        control: Control,
        console: Console,
        logs: LogFiles,
        project: Path,
    ) -> None:
        self._parts = parts
        self._places = places
        self._control = control
        self._console = console
        self._logs = logs
        self._project = project
        self._ready = False
        self._deaths: dict[str, tuple[int, float]] = {}
        """Per part: the number of deaths soon after a start, and the time of the last."""
        self._waits: dict[str, float] = {}
        self._again_at: dict[str, float] = {}
        self._down: set[str] = set()
        self._up_since: dict[str, tuple[int, float]] = {}
        self._stop = asyncio.Event()
        self._failed = False
        self._running: Mapping[str, PartState] = {}

    async def run(self, environment: Mapping[str, str], start: Start) -> int:
        """Run the stack.

        Args:
            environment: of all parts.
            start: conditions to wait for.

        Returns:
            The exit status: 0 if it stopped on request, 1 if something failed.
        """
        async with self._reading_pipes():
            supervisord = await self._start(environment)
            self._handle_signals()
            ended = asyncio.ensure_future(supervisord.wait())
            duties: list[Awaitable[None]] = [self._watch(start)]
            if start.reload:
                duties.append(self._reload())
            stop = asyncio.ensure_future(self._stop.wait())
            tasks = [asyncio.ensure_future(duty) for duty in duties]
            await asyncio.wait([stop, ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            by_itself = ended.done()
            if not by_itself:
                # Once it is stopping, supervisord answers no requests.
                self._running = await asyncio.to_thread(self._control.processes)
                supervisord.terminate()
            status = await ended
            for task in (stop, *tasks):
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
        if by_itself:
            self._say(f"supervisord ended by itself with status {status}{self._tail(RUNNER)}")
        return 1 if by_itself or self._failed or status else 0

    @asynccontextmanager
    async def _reading_pipes(self) -> AsyncIterator[None]:
        """Show the output in the parts' named pipes, to the last byte."""
        os.mkfifo(self._places.lifeline, 0o600)
        kept_open = [os.open(self._places.lifeline, os.O_RDWR)]
        protocols: list[LineProtocol] = []
        for part in self._parts:
            path = self._places.pipe(part.name)
            os.mkfifo(path, 0o600)
            reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            # Without a writer of our own, the pipe ends each time supervisord reopens it.
            kept_open.append(os.open(path, os.O_WRONLY))
            pipe = os.fdopen(reading, "rb")
            protocols.append(await self._show(part.name, pipe, self._console))
        try:
            yield
        finally:
            for descriptor in kept_open:
                os.close(descriptor)
            await asyncio.gather(*(protocol.ended for protocol in protocols))

    async def _show(self, name: str, pipe: BinaryIO, lines: Lines) -> LineProtocol:
        _, protocol = await asyncio.get_running_loop().connect_read_pipe(
            lambda: LineProtocol(lines, name), pipe
        )
        return protocol

    def line(self, name: str, line: bytes) -> None:
        """Take a line of supervisord; report a part that ended without being asked to."""
        self._console.line(name, line)
        if not self._ready or self._stop.is_set() or not (match := _EXITED.fullmatch(line)):
            return
        part, why = match[1].decode(), match[2].decode()
        now = time.monotonic()
        count, last = self._deaths.get(part, (0, now))
        self._deaths[part] = (count + 1 if now - last < _STEADY_S else 1), now
        self._up_since.pop(part, None)
        if part not in self._down:
            self._down.add(part)
            self._say(f"{part} ended ({why}); it starts again")

    async def _start(self, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        reading, writing = os.pipe()
        await self._show(RUNNER, os.fdopen(os.dup(reading), "rb"), self)
        try:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "supervisor.supervisord", "--nodaemon"),
                *("--configuration", str(self._places.configuration)),
                cwd=self._project,
                env=environment,
                # Never read. It keeps the pipe of its own log whole when this process is killed:
                # supervisord would fail at its next line instead of stopping the parts.
                stdin=reading,
                stdout=writing,
                stderr=writing,
                # Ctrl-C reaches this process alone, which then stops the parts in order.
                start_new_session=True,
            )
        finally:
            os.close(reading)
            os.close(writing)

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._request_stop)

    def _request_stop(self) -> None:
        if not self._stop.is_set():
            self._say("stopping; once more kills what still runs")
            self._stop.set()
            return
        self._say("killing")
        for process in self._running.values():
            if process.pid:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    async def _watch(self, start: Start) -> None:
        """Show the first screen once all is ready, then keep all running; return on failure."""
        if not await self._watch_start(start):
            self._failed = True
            return
        if not self._stop.is_set():
            self._ready = True
            self._console.plain(start.screen)
        while not self._stop.is_set():
            await self._revive(await asyncio.to_thread(self._control.processes))
            await asyncio.sleep(1)

    async def _watch_start(self, start: Start) -> bool:
        began = time.monotonic()
        complain_at = began + _COMPLAIN_AFTER_S
        starts: defaultdict[str, set[int]] = defaultdict(set)
        ready: set[str] = set()
        told = False
        names = [*start.ports, *start.urls]
        self._say(
            f"starting {', '.join(names)}; all they log is in {_short(self._logs.folder)} "
            "(VERBOSE=1 shows it here)"
        )
        async with aiohttp.ClientSession() as session:
            while True:
                processes = await asyncio.to_thread(self._control.processes)
                given_up = {name for name, one in processes.items() if one.state == "FATAL"}
                # On a busy machine a part may fail after supervisord counts it as started, and
                # would be restarted for ever.
                for name, one in processes.items():
                    starts[name].add(one.pid)
                    if len(starts[name] - {0}) > START_TRIES + 1:
                        given_up.add(name)
                if start.reload:
                    await self._revive(processes)
                elif given_up:
                    for name in sorted(given_up):
                        self._say(self._why_given_up(name))
                    return False
                waiting = await _find_unready(session, start, ready)
                if self._stop.is_set():
                    return True
                after = time.monotonic() - began
                if fresh := [name for name in names if name not in waiting and name not in ready]:
                    ready |= set(fresh)
                    self._say(f"ready after {after:.1f} s: {', '.join(fresh)}")
                if not waiting:
                    return True
                if waiting.keys() == {"server"} and _NO_CLIENT in waiting["server"]:
                    if not told:
                        self._console.plain(start.first_client)
                    told = True
                elif time.monotonic() > complain_at:
                    self._say(f"not ready after {after:.0f} s: {summarize(waiting)}")
                    complain_at += _COMPLAIN_AFTER_S
                await asyncio.sleep(_LOOK_EVERY_S)

    async def _revive(self, processes: Mapping[str, PartState]) -> None:
        """Restart parts that end soon after each start, for ever, with growing waits.

        supervisord gives up a part that ends within `START_S`. One that takes longer to fail, it
        would restart without a pause.
        """
        now = time.monotonic()
        for name, one in processes.items():
            if name in self._again_at:
                if now >= self._again_at[name]:
                    del self._again_at[name]
                    await asyncio.to_thread(self._control.start, name)
                continue
            if one.state == "FATAL" or self._deaths.get(name, (0, 0.0))[0] > START_TRIES:
                await self._put_off(name, now)
            elif one.state == "RUNNING":
                self._note_running(name, one.pid, now)

    async def _put_off(self, name: str, now: float) -> None:
        await asyncio.to_thread(self._control.stop, name)
        self._deaths.pop(name, None)
        self._down.add(name)
        wait = min(2 * self._waits.get(name, _FIRST_WAIT_S / 2), _LONGEST_WAIT_S)
        self._waits[name], self._again_at[name] = wait, now + wait
        self._say(
            f"{name} ended soon after its start {START_TRIES + 1} times; the next try is "
            f"in {wait:.0f} s, and so on until it runs{self._tail(name, 3)}"
        )

    def _note_running(self, name: str, pid: int, now: float) -> None:
        known, since = self._up_since.get(name, (0, now))
        if known != pid:
            since = now
        self._up_since[name] = pid, since
        if name in self._down and now - since >= _AGAIN_S:
            self._down.discard(name)
            self._say(f"{name} runs again")
        if now - since >= _STEADY_S:
            self._waits.pop(name, None)

    def _why_given_up(self, name: str) -> str:
        command = next(part.command for part in self._parts if part.name == name)
        return (
            f"{name} ended soon after its start {START_TRIES + 1} times and was given up "
            f"({shlex.join(command)}){self._tail(name)}"
        )

    def _tail(self, name: str, count: int = _TAIL_LINES) -> str:
        lines = self._logs.tail(name, count)
        where = _short(self._logs.path(name))
        return f". The end of {where}:\n    " + "\n    ".join(lines) if lines else f"; see {where}"

    async def _reload(self) -> None:
        async for names in watch(self._parts, self._project):
            self._say(f"sources changed; starting again: {', '.join(names)}")
            await asyncio.gather(
                *(asyncio.to_thread(self._control.restart, name) for name in names)
            )

    def _say(self, text: str) -> None:
        self._console.text(RUNNER, text)


def _short(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def summarize(waiting: Mapping[str, str]) -> str:
    """Name each reason once, after the parts that it holds up."""
    names: defaultdict[str, list[str]] = defaultdict(list)
    for name, why in waiting.items():
        names[why].append(name)
    return "; ".join(f"{', '.join(parts)}: {why}" for why, parts in names.items())


async def _find_unready(
    session: aiohttp.ClientSession, start: Start, known: Collection[str]
) -> dict[str, str]:
    """Ask which parts are not ready, and why; a store that took a connection is not asked again."""
    ports = {name: port for name, port in start.ports.items() if name not in known}
    answers = await asyncio.gather(
        *(_connect(port) for port in ports.values()),
        *(_probe(session, url) for url in start.urls.values()),
    )
    names = [*ports, *start.urls]
    return {name: why for name, why in zip(names, answers, strict=True) if why is not None}


async def _connect(port: int) -> str | None:
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
    except ConnectionRefusedError:
        return _NOT_LISTENING
    except OSError as error:
        return str(error) or type(error).__name__
    writer.close()
    return None


async def _probe(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        # The certificate is not for this address, and we know who answers here.
        limit = aiohttp.ClientTimeout(_PROBE_TIMEOUT_S)
        async with session.get(url, timeout=limit, ssl=False) as answer:
            return None if answer.ok else f"{answer.status} {(await answer.text())[:200]}"
    except aiohttp.ClientConnectorError as error:
        refused = isinstance(error.os_error, ConnectionRefusedError)
        return _NOT_LISTENING if refused else str(error)
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__
