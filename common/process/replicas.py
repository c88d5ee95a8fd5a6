"""Replicas: several processes on one port, started, watched and ended by one parent.

With one process there is no parent. With more, the parent gives them a folder in which their
metrics are summed, restarts a replica that dies, and passes SIGTERM on. A replica ends when
its parent is gone: it holds the reading end of a pipe that only the parent can write to.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import uvloop

from common.process.command_line import REPLICA_FLAG
from common.telemetry.metrics import forget_replica

log = logging.getLogger("roomcast.replicas")

_SOURCES: Final = Path(__file__).resolve().parents[2]
"""Folder of this process's code; its replicas run the same code, wherever it was started."""
_RESTART_AFTER_S: Final = 0.5
_CANCEL_AGAIN_S: Final = 0.5


def replica_number() -> int | None:
    """Return this replica's number (from 1); None if the process runs alone or is the parent."""
    if len(sys.argv) > 2 and sys.argv[1] == REPLICA_FLAG:
        return int(sys.argv[2])
    return None


def _pipe_to_parent() -> int | None:
    return int(sys.argv[3]) if replica_number() is not None else None


async def stop_requested() -> None:
    """Wait for SIGTERM or SIGINT, or, in a replica, for the parent's end."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    pipe = _pipe_to_parent()
    if pipe is not None:
        loop.add_reader(pipe, stop.set)
    await stop.wait()
    if pipe is not None:
        loop.remove_reader(pipe)


async def run_until_stopped(
    *duties: Coroutine[Any, Any, None], at_stop: Callable[[], Awaitable[None]]
) -> None:
    """Run duties that should never end, until a stop is requested or one of them ends.

    Args:
        duties: run side by side.
        at_stop: run when a stop was requested, while the duties still go on; then they are
            cancelled.

    Raises:
        Exception: raised by a duty; a duty that returns is a RuntimeError. No duty dies unseen.
    """
    stop = asyncio.ensure_future(stop_requested())
    tasks = [asyncio.ensure_future(duty) for duty in duties]
    try:
        await _first(stop, tasks)
        stopping = asyncio.ensure_future(at_stop())
        try:
            await _first(stopping, tasks)
        finally:
            stopping.cancel()
    finally:
        await _cancel({stop, *tasks})


async def _cancel(tasks: "set[asyncio.Future[None]]") -> None:
    # A library that is connecting right now may take a cancellation for its own timeout.
    while tasks:
        for task in tasks:
            task.cancel()
        _, tasks = await asyncio.wait(tasks, timeout=_CANCEL_AGAIN_S)


async def _first(awaited: "asyncio.Future[None]", tasks: "list[asyncio.Task[None]]") -> None:
    everything: list[asyncio.Future[None]] = [awaited, *tasks]
    done, _ = await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    if awaited not in done:
        raise RuntimeError(f"{done} ended by itself")


def run(process: str, processes: int, main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` in this process, or `python -m <process>` in several.

    Args:
        process: name of the package.
        processes: how many replicas.
        main: the composition root; returns when it was stopped.
    """
    if processes == 1 or replica_number() is not None:
        uvloop.run(main())  # type: ignore[arg-type]  # any awaitable will do
        return
    folder = tempfile.mkdtemp(prefix=f"roomcast-{process}-")
    try:
        uvloop.run(_watch(process, processes, folder))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _watch(process: str, processes: int, folder: str) -> None:
    reading, writing = os.pipe()
    stop = asyncio.ensure_future(stop_requested())
    try:
        await asyncio.gather(
            *(_keep(process, number, folder, reading, stop) for number in range(1, processes + 1))
        )
    finally:
        os.close(writing)
        os.close(reading)


async def _keep(
    process: str, number: int, folder: str, reading: int, stop: "asyncio.Future[None]"
) -> None:
    path = [str(_SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": folder,
        "PYTHONPATH": os.pathsep.join(path),
    }
    while not stop.done():
        child = await asyncio.create_subprocess_exec(
            # Not from the working folder (-P), where another package may have that name.
            *(sys.executable, "-P", "-m", process, REPLICA_FLAG, str(number), str(reading)),
            env=environment,
            pass_fds=(reading,),
        )
        ended = asyncio.ensure_future(child.wait())
        both: list[asyncio.Future[Any]] = [stop, ended]
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            child.send_signal(signal.SIGTERM)
            await ended
            return
        forget_replica(child.pid, folder)
        if stop.done():
            return
        log.error(
            "replica died; starting it again",
            extra={"replica": number, "pid": child.pid, "status": child.returncode},
        )
        await asyncio.wait([stop], timeout=_RESTART_AFTER_S)
