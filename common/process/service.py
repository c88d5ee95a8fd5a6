"""Life of a process of ours, the same for all: logs, replicas, readiness, signals, a clean stop.

A `__main__` makes its parts and names its duties; the rest is here. `run_service` goes around a
composition root, `serve_until_stopped` is its last line.
"""

import asyncio
import contextlib
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from common.config.loading import load_settings
from common.config.settings import Settings
from common.errors import CannotRunError
from common.process.periodic import every
from common.process.replicas import replica_number, run, run_until_stopped
from common.telemetry.logs import set_up_logs
from common.telemetry.readiness import (
    PROBE_INTERVAL_S,
    PROBE_TIMEOUT_S,
    STARTING_INTERVAL_S,
    Readiness,
)


def load_service_settings() -> Settings:
    """Read the settings of this process; of replicas, only the parent warns of odd ones.

    Raises:
        SystemExit: status 2, after one line on stderr: a setting can't be used.
    """
    return load_settings(warn=replica_number() is None)


def start_logs(settings: Settings, name: str) -> None:
    """Write the logs of this process to stdout, under its name and its number as a replica."""
    number = replica_number()
    set_up_logs(settings, f"{name}.{number}" if number else name)


def run_service(
    package: str, processes: int, serve: Callable[[], Awaitable[None]], log: logging.Logger
) -> None:
    """Run a composition root in as many processes as wanted, until they are stopped.

    Args:
        package: name of the package that `python -m` runs.
        processes: how many replicas.
        serve: the composition root; returns when it was stopped.
        log: of the process.

    Raises:
        SystemExit: status 1, after one line in the log: it can't run here.
    """
    try:
        run(package, processes, serve)
    except (CannotRunError, OSError) as error:
        log.critical("can't run", extra={"reason": str(error)})
        sys.exit(1)


async def serve_until_stopped(
    *duties: Coroutine[Any, Any, None],
    readiness: Readiness,
    connected: Sequence[asyncio.Event],
    at_stop: Callable[[], Awaitable[None]],
    at_end: Sequence[Callable[[], Awaitable[object]]],
    log: logging.Logger,
) -> None:
    """Run duties and the probe of readiness until a stop is requested, then end in order.

    Guarantee: everything of `at_end` is called, even if something before it fails.

    Args:
        duties: run side by side; none may end by itself.
        readiness: of the process; probed from here, and drained before `at_stop`.
        connected: the first probe waits for these, for as long as a probe may take.
        at_stop: run while the duties still go on; then they are cancelled.
        at_end: called one after the other, once no duty runs any more.
        log: of the process.

    Raises:
        Exception: raised by a duty; a duty that returns is a RuntimeError.
    """

    async def drain() -> None:
        readiness.drain()
        await at_stop()

    async with contextlib.AsyncExitStack() as ending:
        ending.callback(log.info, "stopped")
        for close in reversed(at_end):
            ending.push_async_callback(close)
        await run_until_stopped(*duties, keep_probing(readiness, connected), at_stop=drain)


async def keep_probing(readiness: Readiness, connected: Sequence[asyncio.Event]) -> None:
    """Probe until cancelled, beginning once connected or after the time of one probe.

    Args:
        readiness: of the process.
        connected: all set when the process is connected.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            for event in connected:
                await event.wait()
    while readiness.is_starting:
        await readiness.check()
        await asyncio.sleep(STARTING_INTERVAL_S)
    await every(PROBE_INTERVAL_S, readiness.check)
