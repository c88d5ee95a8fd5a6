"""Failed attempts to authenticate: an address with too many must wait before it tries again.

Each process counts for itself, so that guessing costs no round trip: with N processes an address
has up to N times the attempts. A key has 256 random bits, so this bounds the work that guessing
makes, not the chance to guess right.
"""

from collections import OrderedDict
from typing import Final

WINDOW_S: Final = 60.0
TOO_MANY_FAILURES: Final = "too many credentials from this address were not accepted"
ADDRESSES_MAX: Final = 10_000
"""Most addresses that are remembered; past it, those that failed longest ago are forgotten."""


class FailedAttempts:
    """Counter of each address's failures within a minute.

    Args:
        most: failures of an address in a minute; 0: any number.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._failed: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def counts(self) -> bool:
        """True if failures are counted at all."""
        return self._most > 0

    @property
    def any_recent(self) -> bool:
        """True if any address failed within the last minute, or a little longer ago."""
        return bool(self._failed)

    def __len__(self) -> int:
        """Return the number of remembered addresses."""
        return len(self._failed)

    def note(self, address: str, now: float) -> None:
        """Count a failure.

        Args:
            address: who failed.
            now: `time.monotonic()`.
        """
        if not self._most:
            return
        since, count = self._failed.pop(address, (now, 0))
        if now - since >= WINDOW_S:
            since, count = now, 0
        self._failed[address] = since, count + 1
        if len(self._failed) > ADDRESSES_MAX:
            self._failed.popitem(last=False)

    def wait_s(self, address: str, now: float) -> float:
        """Return the seconds until an address may try again; 0: it may now.

        Args:
            address: who tries.
            now: `time.monotonic()`.
        """
        if address not in self._failed:
            return 0.0
        since, count = self._failed[address]
        left = since + WINDOW_S - now
        if left <= 0:
            del self._failed[address]
            return 0.0
        return left if count >= self._most else 0.0
