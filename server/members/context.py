"""Context of the routes of users and rooms."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Protocol, Self

from common.model.channels import DEFAULT_CLIENT
from history.database import Database
from server.members.member_changes import Changes


class CachedInboxes(Protocol):
    """Cached inboxes of a client's users, which change with their memberships."""

    def of(self, client: str) -> Self:
        """Return the cache for another client's users."""

    def change(self, user: str) -> AbstractAsyncContextManager[None]:
        """Keep a user's inbox out of the cache while it changes."""


@dataclass(frozen=True, slots=True)
class Members:
    """A client's users and the rooms that they are members of.

    Args:
        database: PostgreSQL.
        changes: writes users and memberships.
        cached: inboxes that a change makes out of date.
        client: owner of the users and rooms.
    """

    database: Database
    changes: Changes
    cached: CachedInboxes
    client: str = DEFAULT_CLIENT

    def of(self, client: str) -> "Members":
        """Return the users of another client."""
        if client == self.client:
            return self
        return replace(
            self, client=client, changes=self.changes.of(client), cached=self.cached.of(client)
        )
