"""`python -m server create-client`: the first client, and clients without HTTP."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from common.auth.records import ALL_SCOPES, Scope
from common.keys import Keys
from common.redis_client import connect
from common.settings import Settings, load_settings
from history.clients import Actor
from history.database import Database, DatabaseAwayError
from history.migrate import migrate
from server.clients import Clients

_REDIS_TIMEOUT_S = 2.0


def command(arguments: Sequence[str]) -> int:
    """Do what a command line says.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status.

    Raises:
        SystemExit: the arguments are wrong.
    """
    parser = argparse.ArgumentParser(prog="python -m server", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    create = commands.add_parser("create-client", help="make a client and print its first key")
    create.add_argument("name")
    create.add_argument("email")
    create.add_argument(
        "--admin", action="store_true", help="its admin keys manage all clients: an operator's"
    )
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=ALL_SCOPES,
        metavar="SCOPE,…",
        help=f"of the key, of {', '.join(Scope)}; all, if this is left out",
    )
    asked = parser.parse_args(arguments)
    if asked.admin and Scope.ADMIN not in asked.scopes:
        create.error("--admin needs the scope admin among --scopes")
    settings = load_settings()
    if not settings.database_url:
        sys.stderr.write("DATABASE_URL is not set: there is nowhere to keep a client\n")
        return 2
    try:
        key = asyncio.run(
            _create(settings, asked.name, asked.email, operator=asked.admin, scopes=asked.scopes)
        )
    except (DatabaseAwayError, OSError) as error:
        sys.stderr.write(f"the database does not answer: {error}\n")
        return 1
    sys.stdout.write(f"{key}\n")
    return 0


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(map(Scope, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of scopes such as notify,read"
        ) from None


async def _create(
    settings: Settings, name: str, email: str, *, operator: bool, scopes: frozenset[Scope]
) -> str:
    await migrate(settings.database_url.get_secret_value())
    database = Database(settings.database_url.get_secret_value())
    redis = connect(settings.redis_url, timeout_s=_REDIS_TIMEOUT_S)
    try:
        clients = Clients(database, redis, Keys(), settings, "command-line")
        client, key = await clients.create(Actor(), name, email, operator=operator, scopes=scopes)
    finally:
        await database.close()
        await redis.aclose()
    sys.stderr.write(f"client {client.id}; its key follows, and is shown this once\n")
    return key
