"""Registration: channels are opened, what was missed is read, then a connection is let in.

The answer, what was missed and the connection's entry into its channels are one step of the loop,
so that nothing comes between.
"""

import asyncio
from collections.abc import Mapping

from ws_gateway import metrics
from ws_gateway.admission.pacer import Pacer
from ws_gateway.channels.catch_up import CatchUp, Missed
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.hub import Hub
from ws_gateway.protocol.messages import Register
from ws_gateway.reports.first_sights import Sight, Sights
from ws_gateway.sessions.channel_membership import ChannelMembership, channel_names
from ws_gateway.sessions.connection_tasks import ConnectionTasks
from ws_gateway.transport.connection import Connection


class Registrations:
    """Registers connections that are admitted.

    Args:
        membership: of connections in channels.
        hub: the channels.
        catch_up: reads what connections missed, and brings them up.
        sights: where it is noted who registered.
        pacer: lets connections in, some in each turn of the loop.
        tasks: in which logs are read.
    """

    def __init__(
        self,
        membership: ChannelMembership,
        hub: Hub,
        catch_up: CatchUp,
        sights: Sights,
        pacer: Pacer,
        tasks: ConnectionTasks,
    ) -> None:
        self._membership = membership
        self._hub = hub
        self._catch_up = catch_up
        self._sights = sights
        self._pacer = pacer
        self._tasks = tasks
        self._count = 0

    def __len__(self) -> int:
        """Number of connections that are registered."""
        return self._count

    def begin(self, connection: Connection, message: Register) -> None:
        """Register a connection; it waits until it is answered."""
        assert connection.principal is not None
        names = channel_names(connection.principal, message.user, message.rooms)
        client = connection.principal.client
        sight: Sight | None = None
        if not self._membership.is_heard(names[0]):
            sight = self._sights.note(client, message.user)

        def again() -> None:
            self._pacer.do(connection, lambda: self._hub.open(names, ready))

        def ready(channels: list[Channel]) -> None:
            nonlocal sight
            if not self._membership.is_there(connection):
                self._membership.release(channels)
                return
            if sight is None and not self._membership.is_heard(names[0]):
                # The user may have been deleted in the meantime.
                sight = self._sights.note(client, message.user)
            if sight is not None and not sight.is_settled:
                if not connection.busy:
                    connection.wait()
                sight.when_settled(again)
                return
            behind = [
                channel
                for channel in channels
                if message.resume.get(channel.label, channel.handed) != channel.handed
            ]
            if not behind:
                self._let_in(connection, message, channels, {})
                return
            if not connection.busy:
                connection.wait()
            self._tasks.start(connection, self._resume(connection, message, names, behind))

        def in_turn(_: list[Channel]) -> None:
            # Hundreds of channels are opened at once. Those that were may have been closed again.
            again()

        self._membership.open(connection, names, in_turn)

    def end(self, connection: Connection) -> None:
        """Take a connection out of all that it hears, if it is registered."""
        user, connection.user = connection.user, None
        if user is None:
            return
        assert connection.principal is not None
        self._count -= 1
        connection.behind = None
        names = channel_names(connection.principal, user, connection.rooms)
        self._membership.leave(connection, names)
        connection.rooms = ()

    async def _resume(
        self,
        connection: Connection,
        message: Register,
        names: tuple[str, ...],
        behind: list[Channel],
    ) -> None:
        # The subscription is there already: what the logs lack by now comes live.
        found = await asyncio.gather(
            *(self._catch_up.read(channel, message.resume[channel.label]) for channel in behind)
        )
        missed = {channel.label: one for channel, one in zip(behind, found, strict=True)}

        def ready(channels: list[Channel]) -> None:
            if self._membership.is_there(connection):
                self._let_in(connection, message, channels, missed)
            else:
                self._membership.release(channels)

        # Empty channels may have been closed in the meantime.
        self._pacer.do(connection, lambda: self._hub.open(names, ready))

    def _let_in(
        self,
        connection: Connection,
        message: Register,
        channels: list[Channel],
        missed: Mapping[str, Missed],
    ) -> None:
        """Answer, send what was missed, and begin to send what is live."""
        connection.user = message.user
        connection.rooms = message.rooms
        self._count += 1
        positions = self._membership.enter(connection, channels)
        recovered = {
            label: label not in missed or missed[label].replay.exact for label in message.resume
        }
        connection.confirm(message, positions, recovered)
        for exact in recovered.values():
            metrics.resumed.labels("yes" if exact else "no").inc()
        for channel in channels:
            if not recovered.get(channel.label) or message.resume[channel.label] == channel.handed:
                continue
            # A channel that needed no read may have moved on while the others were read.
            connection.fall_behind(channel, message.resume[channel.label])
            if one := missed.get(channel.label):
                self._catch_up.apply(connection, channel, one)
        self._catch_up.begin(connection)
        if connection.busy:
            connection.resume()
