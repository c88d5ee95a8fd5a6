"""Limits on handshakes per second, per address and in total.

Counted in each process, by seconds of its own clock.
"""

from typing import Final

from common.model.problem_codes import ProblemCode

WINDOW_S: Final = 1.0
ADDRESSES_MAX: Final = 10_000
"""Addresses that are counted in a second; of more, only the total is."""


class HandshakeRates:
    """Bounds on handshakes per second.

    Args:
        of_address: of one address; 0: any number.
        of_all: of all together; 0: any number.
    """

    def __init__(self, of_address: int, of_all: int) -> None:
        self._of_address = of_address
        self._of_all = of_all
        self._since = float("-inf")
        self._count = 0
        self._addresses: dict[str, int] = {}

    @property
    def by_address(self) -> bool:
        """True if handshakes are counted per address."""
        return self._of_address > 0

    def refusal(self, address: str, now: float) -> ProblemCode | None:
        """Count a handshake.

        Args:
            address: whose it is; anything if addresses are not counted.
            now: `time.monotonic()`.

        Returns:
            Why it must wait: `ADDRESS_TOO_FAST` or `TOO_MANY_HANDSHAKES`; None: it need not.
        """
        if now - self._since >= WINDOW_S:
            self._since, self._count = now, 0
            self._addresses.clear()
        # First, so that one address does not use up what there is for all.
        if self._of_address:
            count = self._addresses.get(address, 0)
            if count >= self._of_address:
                return ProblemCode.ADDRESS_TOO_FAST
            if count or len(self._addresses) < ADDRESSES_MAX:
                self._addresses[address] = count + 1
        if self._of_all:
            if self._count >= self._of_all:
                return ProblemCode.TOO_MANY_HANDSHAKES
            self._count += 1
        return None
