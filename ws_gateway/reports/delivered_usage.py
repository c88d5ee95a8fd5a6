"""Count of socket writes for each client's publications."""

from collections.abc import Iterator

from common.accounting.usage import Outcome
from common.model.channels import DEFAULT_CLIENT, client_of
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run


class DeliveredUsage:
    """Counts by client what was written, until it is asked: a source of `Usage`."""

    def __init__(self) -> None:
        self._writes: dict[str, int] = {}

    def note(self, channel: Channel, items: list[Pending], written: int) -> None:
        """Note that these publications were written to so many sockets."""
        client = client_of(channel.name)
        if written and client != DEFAULT_CLIENT:
            self._add(client, sum([1 for item in items if not item.is_reset]) * written)

    def note_replayed(self, channel: HeardChannel, runs: list[Run]) -> None:
        """Note that one connection got publications from the log."""
        self._add(client_of(channel.name), sum(run.length for run in runs))

    def counted(self) -> Iterator[tuple[str, Outcome, int]]:
        """Return the counts since the last call."""
        writes, self._writes = self._writes, {}
        return ((client, Outcome.DELIVERED, count) for client, count in writes.items())

    def _add(self, client: str, count: int) -> None:
        self._writes[client] = self._writes.get(client, 0) + count
