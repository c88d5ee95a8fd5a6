"""Work that comes item by item, and is done for many of them in one round trip."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Rounds(Generic[Item]):
    """Gathers the items of a loop turn, and hands them over in rounds, one round at a time.

    Args:
        handle: does a round; what it raises ends the loop.
        round_max: items of one round.
        waiting_max: items that may wait; one more is not taken.
    """

    def __init__(
        self,
        handle: Callable[[list[Item]], Awaitable[None]],
        *,
        round_max: int,
        waiting_max: int,
    ) -> None:
        self._handle = handle
        self._round_max = round_max
        self._waiting_max = waiting_max
        self._waiting: list[Item] = []
        self._wanted = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """True if no more items may wait."""
        return len(self._waiting) >= self._waiting_max

    def add(self, item: Item) -> None:
        """Let an item wait for its round; the caller has looked whether there is room."""
        self._waiting.append(item)
        self._wanted.set()

    def take_all(self) -> list[Item]:
        """Take the items that wait out of the line: they get no round."""
        waiting, self._waiting = self._waiting, []
        return waiting

    async def run(self) -> None:
        """Do rounds until cancelled."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            # What else this loop turn brings goes along.
            await asyncio.sleep(0)
            while self._waiting:
                first, self._waiting = (
                    self._waiting[: self._round_max],
                    self._waiting[self._round_max :],
                )
                await self._handle(first)
