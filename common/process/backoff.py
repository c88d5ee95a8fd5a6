"""Exponential backoff with jitter, and the log lines about it."""

import random
from collections.abc import Iterator


def jittered(first_s: float = 0.05, longest_s: float = 2.0) -> Iterator[float]:
    """Yield the seconds to wait before each retry: exponential, each drawn from half to the whole.

    Jitter keeps processes that lost the same server from reconnecting in step.
    """
    wait = first_s
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
        wait = min(wait * 2, longest_s)


class Backoff:
    """Waits of a loop that connects and serves, growing until a round was served.

    A connection alone does not reset them: with a server that accepts connections but refuses
    their requests, the loop would reconnect without a pause.
    """

    def __init__(self) -> None:
        self._waits = jittered()
        self._reason: str | None = None

    def served(self) -> None:
        """Start again with short waits: a round was served."""
        if self._reason is not None:
            self._waits = jittered()
            self._reason = None

    def failed(self, reason: str) -> float:
        """Log a failed round, and return the seconds to wait."""
        self._reason = reason
        return next(self._waits)
