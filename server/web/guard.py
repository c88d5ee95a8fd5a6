"""Context of the routes of history, and their refusals while it is off or a part is away."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from aiohttp import web
from redis.asyncio import Redis

from common.model.channels import DEFAULT_CLIENT
from common.model.problem_codes import ProblemCode
from common.redis.errors import REDIS_ERRORS
from common.redis.keys import Keys
from history.database import Database, DatabaseAwayError
from server.access.route_access import principal_of
from server.inbox.reader import Inbox
from server.members.member_changes import Changes
from server.web.answers import away, history_off


@dataclass(frozen=True, slots=True)
class History:
    """Context of the routes of history.

    Args:
        database: PostgreSQL.
        inbox: the inboxes.
        changes: writes users, memberships and inboxes that were read.
        redis: a client with a short timeout.
        keys: of the shard.
        client: owner of the history.
    """

    database: Database
    inbox: Inbox
    changes: Changes
    redis: Redis
    keys: Keys
    client: str = DEFAULT_CLIENT

    def of(self, client: str) -> "History":
        """Return the context for another client."""
        if client == self.client:
            return self
        return replace(
            self, client=client, inbox=self.inbox.of(client), changes=self.changes.of(client)
        )

    async def close(self) -> None:
        """Close the connections."""
        await self.database.close()
        await self.redis.aclose()


HistoryHandler = Callable[[web.Request, History], Awaitable[web.Response]]
Route = tuple[str, str, HistoryHandler]
"""Method, path and handler."""


def history_routes(history: History | None, routes: list[Route]) -> list[web.RouteDef]:
    """Make routes that answer 503 while history is off or a part of it is away."""
    return [
        web.get(path, _guarded(history, handler))
        if method == "GET"
        else web.route(method, path, _guarded(history, handler))
        for method, path, handler in routes
    ]


def _guarded(
    history: History | None, handler: HistoryHandler
) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        if history is None:
            raise history_off()
        try:
            return await handler(request, history.of(principal_of(request).client))
        except DatabaseAwayError:
            raise away(ProblemCode.DATABASE_AWAY, "PostgreSQL does not answer; repeat") from None
        except REDIS_ERRORS:
            raise away(ProblemCode.REDIS_AWAY, "Redis does not answer; repeat") from None

    return answer
