"""How many writes to sockets each client's publications took."""

from typing import Final

from common.names import DEFAULT_CLIENT, client_of
from common.usage import Outcome, Usage
from ws_gateway.channel import Channel, Pending
from ws_gateway.written import Run

_OPEN: Final = f"{DEFAULT_CLIENT}/"


class DeliveredUsage:
    """Counts by client what was written.

    Args:
        usage: where it is counted.
    """

    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    def note(self, channel: Channel, items: list[Pending], written: int) -> None:
        """Note that these publications were written to so many sockets."""
        if written and not channel.name.startswith(_OPEN):
            count = sum(1 for item in items if item.accepted_ms)
            self._usage.add(client_of(channel.name), Outcome.DELIVERED, count * written)

    def note_replayed(self, channel: Channel, runs: list[Run]) -> None:
        """Note that one connection got publications from the log."""
        count = sum(run.last - run.first + 1 for run in runs)
        self._usage.add(client_of(channel.name), Outcome.DELIVERED, count)
