"""Membership of connections in channels: when they enter, and what they leave behind."""

from collections.abc import Callable, Container, Iterable

from common.auth.principal import Principal
from common.model.channels import BROADCAST_CHANNEL, room_channel, scoped, user_channel
from common.model.publication import Position
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.hub import Hub
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.connection import Connection


class ChannelMembership:
    """Lets connections into channels that are open, and out of them.

    Args:
        hub: the channels.
        clock: coarse time.
        connections: all that are still there.
    """

    def __init__(self, hub: Hub, clock: Clock, connections: Container[Connection]) -> None:
        self._hub = hub
        self._clock = clock
        self._connections = connections

    def open(
        self,
        connection: Connection,
        names: tuple[str, ...],
        ready: Callable[[list[Channel]], None],
    ) -> None:
        """Call `ready` once all channels are live; the connection waits if that takes time.

        Args:
            connection: for whom they are opened.
            names: scoped.
            ready: called with the channels in the same order.
        """
        done = False

        def call(channels: list[Channel]) -> None:
            nonlocal done
            done = True
            ready(channels)

        self._hub.open(names, call)
        if not done:
            connection.wait()

    def is_there(self, connection: Connection) -> bool:
        """Return whether a connection is neither gone nor closing."""
        return connection.closing_since is None and connection in self._connections

    def release(self, channels: Iterable[Channel]) -> None:
        """Give up channels that were opened for a connection which is gone."""
        for channel in channels:
            self._hub.release(channel, self._clock.now)

    def is_heard(self, name: str) -> bool:
        """Return whether an open connection hears a channel here already.

        Args:
            name: of the channel, scoped.
        """
        channel = self._hub.channels.get(name)
        return channel is not None and any(
            member.closing_since is None for member in channel.members
        )

    @staticmethod
    def enter(connection: Connection, channels: Iterable[Channel]) -> dict[str, Position]:
        """Hear channels from now on.

        Returns:
            The position in each from which on the connection hears it live, by label.
        """
        positions = {}
        for channel in channels:
            if connection not in channel.members:
                channel.add(connection)
            positions[channel.label] = channel.handed
        return positions

    def leave(self, connection: Connection, names: Iterable[str]) -> None:
        """Hear nothing more of channels, live or from their logs.

        Args:
            connection: which leaves.
            names: of the channels, scoped; of one that is not here there is nothing to leave.
        """
        for name in names:
            channel = self._hub.channels.get(name)
            if channel is None:
                continue
            channel.remove(connection)
            if connection.behind:
                connection.behind.pop(channel, None)
            self._hub.release(channel, self._clock.now)


def channel_names(principal: Principal, user: str, rooms: Iterable[str]) -> tuple[str, ...]:
    """Scoped names of the channels of a registration, the user's own first."""
    labels = (user_channel(user), *map(room_channel, rooms), BROADCAST_CHANNEL)
    return tuple(scoped(label, principal.client) for label in labels)
