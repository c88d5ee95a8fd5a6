"""Joining and leaving rooms after registration."""

from collections.abc import Iterable

from common.model.channels import room_channel, scoped
from common.model.problem_codes import ProblemCode
from ws_gateway.admission.admission import Admission, check_rooms
from ws_gateway.channels.channel import Channel
from ws_gateway.protocol.messages import Join, Leave, MessageError, joined_text, left_text
from ws_gateway.sessions.channel_membership import ChannelMembership
from ws_gateway.transport.connection import Connection


class JoinedRooms:
    """Rooms of registered connections.

    Args:
        membership: of connections in channels.
        admission: which rooms a connection may join, and how many.
    """

    def __init__(self, membership: ChannelMembership, admission: Admission) -> None:
        self._membership = membership
        self._admission = admission

    def join(self, connection: Connection, message: Join) -> None:
        """Hear more rooms, and answer once their channels are open.

        Raises:
            MessageError: they are too many, or the connection's token does not allow one.
        """
        new = [room for room in message.rooms if room not in connection.rooms]
        principal = connection.principal
        assert principal is not None
        self._admission.check_number(principal, len(connection.rooms) + len(new))
        check_rooms(principal, new)
        membership = self._membership

        def ready(channels: list[Channel]) -> None:
            if not membership.is_there(connection):
                membership.release(channels)
                return
            if connection.user is None:
                return
            connection.rooms += tuple(new)
            connection.send(joined_text(message.rooms, membership.enter(connection, channels)))
            if connection.busy:
                connection.resume()

        membership.open(connection, _names(connection, message.rooms), ready)

    def leave(self, connection: Connection, message: Leave) -> None:
        """Stop hearing rooms, and answer.

        Raises:
            MessageError: the connection is not in one of them; it leaves none then.
        """
        strangers = [room for room in message.rooms if room not in connection.rooms]
        if strangers:
            raise MessageError(ProblemCode.NOT_IN_ROOM, f"not in room {strangers[0]}")
        connection.rooms = tuple(r for r in connection.rooms if r not in message.rooms)
        self._membership.leave(connection, _names(connection, message.rooms))
        connection.send(left_text(message.rooms))


def _names(connection: Connection, rooms: Iterable[str]) -> tuple[str, ...]:
    assert connection.principal is not None
    client = connection.principal.client
    return tuple(scoped(room_channel(room), client) for room in rooms)
