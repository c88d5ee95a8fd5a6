"""Principals: on whose behalf a request is made."""

from dataclasses import dataclass, field
from typing import Final

from common.auth.client_records import ALL_SCOPES, Scope
from common.model.channels import DEFAULT_CLIENT


@dataclass(frozen=True, slots=True)
class Rooms:
    """Rooms that a token allows: names, and prefixes that were written as `team-*`."""

    names: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()

    def allow(self, room: str) -> bool:
        """Return True if these include a room."""
        return room in self.names or room.startswith(self.prefixes)


EVERY_ROOM: Final = Rooms(prefixes=("",))


@dataclass(frozen=True, slots=True)
class Principal:
    """Sender of a request: a client application by a key, or one of its users by a token.

    Args:
        client: id of the client application.
        scopes: what its key may be used for; of a user, nothing.
        user: the user, if it is one.
        rooms: which rooms that user may subscribe to.
        expires_s: Unix time at which the token expires, if there is one.
        key: id of the API key, if it is one, or if its ticket let the user in.
        operator: whether the client is an operator's.
    """

    client: str
    scopes: frozenset[Scope] = frozenset()
    user: str | None = None
    rooms: Rooms = field(default_factory=Rooms)
    expires_s: float | None = None
    key: str = ""
    operator: bool = False


OPEN: Final = Principal(DEFAULT_CLIENT, ALL_SCOPES, rooms=EVERY_ROOM, operator=True)
"""A sender without credentials while `AUTH_MODE=open`."""
