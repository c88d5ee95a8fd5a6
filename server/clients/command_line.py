"""`python -m server create-client`: make the first client, or clients without HTTP."""

import asyncio
import sys

from pydantic import ValidationError

from common.auth.client_records import Scope
from common.config.loading import refuse
from common.config.settings import Settings
from common.config.store_urls import without_password
from common.redis.client import connect
from common.redis.shards import Shards
from history.database import Database, DatabaseAwayError
from history.queries.clients import Actor
from history.schema.migrate import DATABASE_ERRORS, describe, migrate
from server.clients.client_routes import NewClient
from server.clients.service import Clients

_REDIS_TIMEOUT_S = 2.0


def create_client(
    settings: Settings, name: str, email: str, *, operator: bool, scopes: frozenset[Scope]
) -> int:
    """Make a client and print its first key.

    Args:
        settings: addresses of the database and Redis.
        name: of the client.
        email: contact of the people responsible for it.
        operator: whether its admin keys manage all clients.
        scopes: of the key.

    Returns:
        The exit status: 1 if the database does not answer or refuses, 2 if the client is invalid.

    Raises:
        SystemExit: there is no database.
    """
    try:
        NewClient(name=name, email=email)
    except ValidationError as error:
        for item in error.errors():
            pattern = item["type"] == "string_pattern_mismatch"
            why = "is no address such as ops@example.com" if pattern else item["msg"]
            sys.stderr.write(f"no client was made: {item['loc'][0]}: {why}\n")
        return 2
    if not settings.database_url:
        refuse("DATABASE_URL", "it is empty, so there is nowhere to keep a client")
    try:
        key = asyncio.run(_create(settings, name, email, operator=operator, scopes=scopes))
    except (DatabaseAwayError, *DATABASE_ERRORS) as error:
        url = without_password(settings.database_url.get_secret_value())
        sys.stderr.write(f"no client was made: {describe(error)} (DATABASE_URL is {url})\n")
        return 1
    sys.stdout.write(f"{key}\n")
    return 0


async def _create(
    settings: Settings, name: str, email: str, *, operator: bool, scopes: frozenset[Scope]
) -> str:
    await migrate(settings.database_url.get_secret_value())
    database = Database(settings.database_url.get_secret_value())
    redis = connect(settings.redis_url, timeout_s=_REDIS_TIMEOUT_S)
    try:
        clients = Clients(database, redis, Shards(), settings, "command-line")
        client, key = await clients.create(Actor(), name, email, operator=operator, scopes=scopes)
    finally:
        await database.close()
        await redis.aclose()
    sys.stderr.write(f"client {client.id}; its key follows, and is shown this once\n")
    return key
