"""Room for new jobs: in the memory of Redis, and in the event stream. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of Redis.

    Attributes:
        used: bytes in use.
        limit: its `maxmemory`; 0: none.
        share: bytes that may be in use before jobs are refused; 0: any number.
        is_nearly_full: whether jobs are refused.
    """

    used: int
    limit: int
    share: int
    is_nearly_full: bool

    @property
    def room(self) -> int | str:
        """Bytes that it may grow by, as the acceptance script takes them; empty: any number."""
        return max(0, self.share - self.used) if self.limit else ""


class Capacity:
    """Decides whether new jobs may be queued.

    Args:
        settings: the share of memory that they may take, and the bound of the event stream.
    """

    def __init__(self, settings: Settings) -> None:
        self._ratio = settings.redis_memory_max_ratio
        self.events_bound = settings.events_bound
        """Entries of the event stream at which it is full."""

    def memory(self, info: Mapping[str, Any]) -> Memory:
        """Read the memory from the reply to INFO (section memory)."""
        used, limit = info["used_memory"], info.get("maxmemory", 0)
        share = self._ratio * limit
        return Memory(used, limit, int(share), bool(limit) and used >= share)

    def events_full(self, entries: int) -> bool:
        """Return whether the event stream, with so many entries, takes no more notifications."""
        return entries >= self.events_bound

    def crowds(self, events: int, entries: int) -> bool:
        """Return whether one client has as much of the event stream as is left for everybody.

        A client that fills it alone is refused at half of it, the next one at half of the rest,
        and so on: there is always room for others.

        Args:
            events: entries of the stream.
            entries: of those, the client's.
        """
        return entries >= max(self.events_bound - events, 1)

    def may_crowd(self, events: int) -> bool:
        """Return whether, with so many entries in the stream, any client could crowd it."""
        return 2 * events >= self.events_bound
