"""The running stack: supervisord, the output of its parts, and what ends it."""

import asyncio
import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

import aiohttp

from deploy.local.console import Console, LineProtocol
from deploy.local.parts import Part
from deploy.local.reload import watch
from deploy.local.supervision import START_TRIES, Control, Places, Process

RUNNER: Final = "runner"

_LOOK_EVERY_S: Final = 0.3
_COMPLAIN_AFTER_S: Final = 20
_PROBE_TIMEOUT_S: Final = 2


class Stack:
    """Runs supervisord until it is asked to stop.

    Args:
        parts: what supervisord was configured to run.
        places: its files.
        control: how to talk to it.
        console: where every line goes.
        project: folder that everything runs in.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        places: Places,
        control: Control,
        console: Console,
        project: Path,
    ) -> None:
        self._parts = parts
        self._places = places
        self._control = control
        self._console = console
        self._project = project
        self._stop = asyncio.Event()
        self._failed = False
        self._running: Mapping[str, Process] = {}

    async def run(
        self,
        environment: Mapping[str, str],
        readiness: Mapping[str, str],
        screen: str,
        *,
        reload: bool,
    ) -> int:
        """Run it.

        Args:
            environment: of all parts.
            readiness: URL per part that answers 200 once the part is ready.
            screen: shown when all of them do.
            reload: restart parts whose sources change.

        Returns:
            The exit status: 0 when it was asked to stop and did, 1 when something failed.
        """
        async with self._reading_pipes():
            supervisord = await self._start(environment)
            self._handle_signals()
            ended = asyncio.ensure_future(supervisord.wait())
            duties: list[Awaitable[None]] = [self._watch_start(readiness, screen, reload)]
            if reload:
                duties.append(self._reload())
            stop = asyncio.ensure_future(self._stop.wait())
            tasks = [asyncio.ensure_future(duty) for duty in duties]
            await asyncio.wait([stop, ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
            by_itself = ended.done()
            if not by_itself:
                # Once it is stopping, supervisord answers no questions.
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
            self._say(f"supervisord ended by itself with status {status}")
        return 1 if by_itself or self._failed or status else 0

    @asynccontextmanager
    async def _reading_pipes(self) -> AsyncIterator[None]:
        """Show what arrives in the parts' named pipes, to the last byte."""
        os.mkfifo(self._places.lifeline, 0o600)
        kept_open = [os.open(self._places.lifeline, os.O_RDWR)]
        protocols: list[LineProtocol] = []
        for part in self._parts:
            path = self._places.pipe(part.name)
            os.mkfifo(path, 0o600)
            reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            # Without a writer of our own, the pipe ends each time supervisord reopens it.
            kept_open.append(os.open(path, os.O_WRONLY))
            protocols.append(await self._show(part.name, os.fdopen(reading, "rb")))
        try:
            yield
        finally:
            for descriptor in kept_open:
                os.close(descriptor)
            await asyncio.gather(*(protocol.ended for protocol in protocols))

    async def _show(self, name: str, pipe: BinaryIO) -> LineProtocol:
        _, protocol = await asyncio.get_running_loop().connect_read_pipe(
            lambda: LineProtocol(self._console, name), pipe
        )
        return protocol

    async def _start(self, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
        reading, writing = os.pipe()
        await self._show(RUNNER, os.fdopen(os.dup(reading), "rb"))
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

    async def _watch_start(self, readiness: Mapping[str, str], screen: str, reload: bool) -> None:
        """Show the first screen once all is ready; watch for parts that were given up, always."""
        complain_at = time.monotonic() + _COMPLAIN_AFTER_S
        ready = False
        given_up: set[str] = set()
        starts: defaultdict[str, set[int]] = defaultdict(set)
        async with aiohttp.ClientSession() as session:
            while True:
                processes = await asyncio.to_thread(self._control.processes)
                fatal = {name for name, one in processes.items() if one.state == "FATAL"}
                if not ready and not reload:
                    # On a busy machine a part may fail later than supervisord calls it started,
                    # and would be started for ever.
                    for name, one in processes.items():
                        starts[name].add(one.pid)
                    fatal |= {name for name in starts if len(starts[name] - {0}) > START_TRIES + 1}
                for name in sorted(fatal - given_up):
                    self._say(self._why_given_up(name))
                given_up = fatal
                if fatal and not ready and not reload:
                    self._failed = True
                    return
                if not ready:
                    waiting = await _find_unready(session, readiness)
                    ready = not waiting
                    if ready:
                        self._console.plain(screen)
                    elif time.monotonic() > complain_at:
                        self._say("not ready yet: " + "; ".join(waiting))
                        complain_at += _COMPLAIN_AFTER_S
                await asyncio.sleep(_LOOK_EVERY_S if not ready else 1)

    def _why_given_up(self, name: str) -> str:
        command = next(part.command for part in self._parts if part.name == name)
        return (
            f"{name} ended soon after its start {START_TRIES + 1} times and was given up; its "
            f"reason is above, under its name ({' '.join(command)})"
        )

    async def _reload(self) -> None:
        async for names in watch(self._parts, self._project):
            self._say(f"sources changed; starting again: {', '.join(names)}")
            await asyncio.gather(
                *(asyncio.to_thread(self._control.restart, name) for name in names)
            )

    def _say(self, text: str) -> None:
        self._console.text(RUNNER, text)


async def _find_unready(session: aiohttp.ClientSession, urls: Mapping[str, str]) -> list[str]:
    answers = await asyncio.gather(*(_probe(session, url) for url in urls.values()))
    return [f"{name}: {why}" for name, why in zip(urls, answers, strict=True) if why is not None]


async def _probe(session: aiohttp.ClientSession, url: str) -> str | None:
    try:
        # A certificate is not for this address, and who answers here is no question.
        limit = aiohttp.ClientTimeout(_PROBE_TIMEOUT_S)
        async with session.get(url, timeout=limit, ssl=False) as answer:
            return None if answer.ok else f"{answer.status} {(await answer.text())[:200]}"
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__
