"""Waiting for what comes about by itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

WAIT_TIMEOUT_S: Final = 30.0


async def until(
    reached: Callable[[], object | Awaitable[object]],
    what: str = "",
    timeout_s: float = WAIT_TIMEOUT_S,
) -> None:
    """Wait for a condition, plain or awaitable; fail when it takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        outcome = reached()
        if isinstance(outcome, Awaitable):
            outcome = await outcome
        if outcome:
            return
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what or reached}"
        await asyncio.sleep(0.01)
