"""What a gateway does with the messages of its clients."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from common.names import BROADCAST_CHANNEL, room_channel, user_channel
from common.publication import Position
from common.settings import Settings
from ws_gateway import metrics
from ws_gateway.channel import Channel
from ws_gateway.connection import Connection
from ws_gateway.hub import Hub
from ws_gateway.protocol import (
    PONG_TEXT,
    ClientError,
    ErrorCode,
    Join,
    Leave,
    PingAction,
    Register,
    joined_text,
    left_text,
    parse_message,
    registered_text,
)


@dataclass(slots=True)
class Clock:
    """Coarse time, moved on once a second by the sweep; connections share its values."""

    now: float


class Gateway:
    """Connections and what they may do.

    Args:
        hub: the channels.
        limits: bounds of one connection.
        clock: coarse time.
    """

    def __init__(self, hub: Hub, limits: Settings, clock: Clock) -> None:
        self.hub = hub
        self.limits = limits
        self.clock = clock
        self.id = secrets.token_hex(4)
        self.connections: set[Connection] = set()
        self.registered = 0
        self.draining = False
        """Take no new connections."""

    def handle(self, connection: Connection, text: str) -> None:
        """Do what a client's message says; every message is answered."""
        try:
            message = parse_message(
                text,
                registered=connection.user is not None,
                max_rooms=self.limits.max_rooms,
            )
            match message:
                case PingAction():
                    connection.send(PONG_TEXT)
                case Register():
                    self._register(connection, message)
                case Join():
                    self._join(connection, message)
                case Leave():
                    self._leave(connection, message)
        except ClientError as error:
            connection.refuse(error)

    def forget(self, connection: Connection) -> None:
        """Take a connection out of everything that it hears."""
        user, connection.user = connection.user, None
        if user is None:
            return
        self.registered -= 1
        for label in (user_channel(user), BROADCAST_CHANNEL, *map(room_channel, connection.rooms)):
            channel = self.hub.channels.get(label)
            if channel:
                channel.remove(connection)
                self.hub.release(channel, self.clock.now)
        connection.rooms = ()

    def _register(self, connection: Connection, message: Register) -> None:
        labels = (
            user_channel(message.user),
            *map(room_channel, message.rooms),
            BROADCAST_CHANNEL,
        )

        def ready(channels: list[Channel]) -> None:
            if not self._is_here(connection, channels):
                return
            connection.user = message.user
            connection.rooms = message.rooms
            self.registered += 1
            connection.send(
                registered_text(
                    message.user,
                    message.rooms,
                    f"{self.id}-{connection.number}",
                    self._enter(connection, channels),
                )
            )
            if connection.busy:
                connection.resume()

        self._when_open(connection, labels, ready)

    def _join(self, connection: Connection, message: Join) -> None:
        new = [room for room in message.rooms if room not in connection.rooms]
        if len(connection.rooms) + len(new) > self.limits.max_rooms:
            raise ClientError(
                ErrorCode.TOO_MANY_ROOMS, f"at most {self.limits.max_rooms} rooms per connection"
            )

        def ready(channels: list[Channel]) -> None:
            if not self._is_here(connection, channels) or connection.user is None:
                return
            connection.rooms += tuple(new)
            connection.send(joined_text(message.rooms, self._enter(connection, channels)))
            if connection.busy:
                connection.resume()

        self._when_open(connection, tuple(map(room_channel, message.rooms)), ready)

    def _leave(self, connection: Connection, message: Leave) -> None:
        strangers = [room for room in message.rooms if room not in connection.rooms]
        if strangers:
            raise ClientError(ErrorCode.NOT_IN_ROOM, f"not in room {strangers[0]}")
        connection.rooms = tuple(r for r in connection.rooms if r not in message.rooms)
        for room in message.rooms:
            channel = self.hub.channels[room_channel(room)]
            channel.remove(connection)
            self.hub.release(channel, self.clock.now)
        connection.send(left_text(message.rooms))

    def _when_open(
        self,
        connection: Connection,
        labels: tuple[str, ...],
        ready: Callable[[list[Channel]], None],
    ) -> None:
        done = False

        def call(channels: list[Channel]) -> None:
            nonlocal done
            done = True
            ready(channels)

        self.hub.open(labels, call)
        if not done:
            connection.wait()

    def _is_here(self, connection: Connection, channels: list[Channel]) -> bool:
        if connection.closing_since is None and connection in self.connections:
            return True
        for channel in channels:
            self.hub.release(channel, self.clock.now)
        return False

    @staticmethod
    def _enter(connection: Connection, channels: list[Channel]) -> dict[str, Position]:
        positions = {}
        for channel in channels:
            if connection not in channel.members:
                channel.add(connection)
            positions[channel.label] = channel.handed
        return positions


def observe(gateway: Gateway) -> None:
    """Set the gauges that follow from a gateway's state."""
    metrics.connections.set(len(gateway.connections))
    metrics.registered.set(gateway.registered)
