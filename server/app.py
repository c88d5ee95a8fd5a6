"""The HTTP application: all routes, and problem documents for everything else.

Each route is declared with its subject; here is the list of subjects.
"""

import json
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Middleware
from redis.asyncio import Redis

from common.auth.client_directory import Directory
from common.config.settings import Settings
from common.events.receipts import Receipts
from common.redis.client import connect
from common.redis.shards import Shards
from common.telemetry.readiness import Readiness
from common.web.problem_middleware import problems
from history.database import Database, database_outage
from server.access.route_access import check_routes
from server.clients import audit_routes, client_routes, key_routes, ticket_routes, token_routes
from server.clients.context import Context
from server.clients.service import Clients
from server.inbox import inbox_routes
from server.inbox.reader import Inbox
from server.members import room_routes, user_routes
from server.members.context import Members
from server.members.member_changes import Changes
from server.notifications import list_routes, status_routes
from server.notifications.context import SentNotifications
from server.notify import notify_routes
from server.notify.handler import Intake
from server.openapi import docs_routes
from server.openapi.document import openapi_document
from server.web import ops_routes
from server.web.bodies import BODY_MAX_BYTES
from server.web.guard import guarded, of_sender
from server.web.route import Route, access_rules, exact_first, served

_CLIENTS: Final = (
    *client_routes.ROUTES,
    *key_routes.ROUTES,
    *token_routes.ROUTES,
    *audit_routes.ROUTES,
    *ticket_routes.ROUTES,
)
_MEMBERS: Final = (*user_routes.ROUTES, *room_routes.ROUTES)
_NOTIFICATIONS: Final = (*list_routes.ROUTES, *status_routes.ROUTES)
ROUTES: Final[tuple[Route[Any], ...]] = (
    *notify_routes.ROUTES,
    *inbox_routes.ROUTES,
    *_MEMBERS,
    *_NOTIFICATIONS,
    *_CLIENTS,
    *ops_routes.ROUTES,
    *docs_routes.ROUTES,
)
"""All routes, in the order of the API document."""
HISTORY_TIMEOUT_S: Final = 2.0
"""Seconds that the routes of history wait for Redis."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Contexts of the routes that need PostgreSQL, by subject."""

    inbox: Inbox
    members: Members
    notifications: SentNotifications


@dataclass(frozen=True, slots=True)
class History:
    """Everything that needs PostgreSQL: the routes' contexts, the clients, the connections."""

    database: Database
    redis: Redis
    stored: Stored
    clients: Clients

    async def close(self) -> None:
        """Close the connections."""
        await self.database.close()
        await self.redis.aclose()


def make_history(settings: Settings, shards: Shards, name: str) -> History | None:
    """Make what the routes of history and clients need, or None if there is no database.

    Nothing is connected yet.
    """
    if not settings.database_url:
        return None
    database = Database(settings.database_url.get_secret_value())
    # A separate client, so that nothing here delays POST /notify.
    redis = connect(settings.redis_url, timeout_s=HISTORY_TIMEOUT_S)
    changes = Changes(redis, shards, settings, name)
    inbox = Inbox(database, redis, shards, Receipts(redis, shards, settings, name), changes)
    stored = Stored(
        inbox,
        Members(database, changes, inbox.cache),
        SentNotifications(database, redis, shards),
    )
    return History(database, redis, stored, Clients(database, redis, shards, settings, name))


def lacks_clients(settings: Settings, directory: Directory) -> str | None:
    """Return None if a client is known, or else what to do, or what is missing to make one."""
    if len(directory):
        return None
    if not directory.asked.is_set():
        return "the clients were not read yet"
    if not settings.database_url:
        return "no client is known, and none can be made: DATABASE_URL is empty"
    if database_outage:
        return "no client is known, and none can be made: the database does not answer"
    return "no client is known: python -m server create-client --admin NAME EMAIL"


def make_app(
    intake: Intake,
    readiness: Readiness,
    control: Middleware,
    clients: Context,
    stored: Stored | None = None,
) -> web.Application:
    """Make the application with all routes; those of history answer 503 without it.

    Args:
        intake: answers `POST /notify`.
        readiness: of this process.
        control: enforces the access rules of routes.
        clients: context of the routes of clients.
        stored: contexts of the routes of history.
    """
    document = json.dumps(openapi_document(ROUTES)).encode()
    app = web.Application(client_max_size=BODY_MAX_BYTES, middlewares=[problems, control])
    app.add_routes(
        exact_first(
            [
                *served(notify_routes.ROUTES, intake),
                *guarded(inbox_routes.ROUTES, of_sender(stored.inbox if stored else None)),
                *guarded(_MEMBERS, of_sender(stored.members if stored else None)),
                *guarded(_NOTIFICATIONS, of_sender(stored.notifications if stored else None)),
                *guarded(_CLIENTS, lambda _: clients),
                *served(ops_routes.ROUTES, readiness),
                *served(docs_routes.ROUTES, document),
            ]
        )
    )
    check_routes(app, access_rules(ROUTES))
    return app
