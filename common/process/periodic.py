"""The loop under everything that a process does once in a while."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from common.errors import REDIS_ERRORS
from common.telemetry.outage import redis_outage


async def every(
    interval_s: float,
    step: Callable[[], Awaitable[None]],
    *,
    part: str = "",
    waits_first: bool = False,
    retries: Callable[[], Iterator[float]] | None = None,
) -> None:
    """Call `step` again and again until cancelled, with a pause after each call.

    Guarantee: Redis may be away for as long as it likes. Any other error ends the loop and reaches
    whoever runs it, so that no loop dies unseen (see `run_until_stopped`).

    Args:
        interval_s: seconds of the pause.
        step: what to do.
        part: the name under which errors of Redis are logged, once per outage. Empty: `step`
            handles them itself.
        waits_first: begin with the pause.
        retries: makes the pauses after errors of Redis, from the first one of an outage on; None:
            they are like all others.
    """
    waits: Iterator[float] | None = None
    if waits_first:
        await asyncio.sleep(interval_s)
    while True:
        pause_s = interval_s
        if not part:
            await step()
        else:
            try:
                await step()
            except REDIS_ERRORS as error:
                redis_outage.lost(part, error)
                if retries is not None:
                    waits = retries() if waits is None else waits
                    pause_s = next(waits)
            else:
                redis_outage.back(part)
                waits = None
        await asyncio.sleep(pause_s)
