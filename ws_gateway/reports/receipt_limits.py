"""Rate limits on receipts, per user and per client application.

Counted by id, in each process, in a bucket that empties at a steady rate.
"""

from collections import OrderedDict
from typing import Final

USERS_MAX: Final = 10_000
"""Users, and client applications, that are remembered; those heard of longest ago are forgotten."""


class Buckets:
    """Bounds on what each name takes.

    Args:
        per_s: what each may take on average.
        burst: what each may take at once.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._taken: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """Number of remembered names."""
        return len(self._taken)

    def fits(self, name: str, count: int, now: float) -> bool:
        """Return whether a name may take so many now.

        Args:
            name: who takes.
            count: how many.
            now: seconds of a clock that never goes back.
        """
        return self._left(name, now) + count <= self._burst

    def take(self, name: str, count: int, now: float) -> None:
        """Note that a name took so many; see `fits`."""
        self._taken[name] = self._left(name, now) + count, now
        self._taken.move_to_end(name)
        if len(self._taken) > USERS_MAX:
            self._taken.popitem(last=False)

    def _left(self, name: str, now: float) -> float:
        taken, since = self._taken.get(name, (0.0, now))
        return max(0.0, taken - (now - since) * self._per_s)


class ReceiptLimits:
    """Bounds on receipts.

    Args:
        of_user: of one user.
        of_client: of all users of a client application; None: it has no bound.
    """

    def __init__(self, of_user: Buckets, of_client: Buckets | None) -> None:
        self._of_user = of_user
        self._of_client = of_client

    def take(self, client: str, user: str, count: int, now: float) -> bool:
        """Count receipts, unless they are too many.

        Returns:
            Whether they may be written.
        """
        name = f"{client}/{user}"
        if not self._of_user.fits(name, count, now):
            return False
        if self._of_client is not None:
            if not self._of_client.fits(client, count, now):
                return False
            self._of_client.take(client, count, now)
        self._of_user.take(name, count, now)
        return True
