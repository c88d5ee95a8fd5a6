"""Composition root of the server: `python -m server`."""

from server.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import contextlib
import logging
import secrets
import sys
from dataclasses import dataclass

from aiohttp import web
from redis.asyncio import Redis

from common.accounting.usage import Usage
from common.auth.authenticator import Authenticator, mode_notes
from common.auth.client_directory import Directory
from common.config.settings import Settings, load_settings
from common.events.receipts import Receipts
from common.process.garbage_collection import collect_seldom
from common.process.replicas import replica_number, run, run_until_stopped
from common.redis.client import UnfitRedisError, connect, wait_until_reached
from common.redis.keys import Keys
from common.telemetry.logs import set_up_logs
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import plain_http
from common.web.cors import add_cors
from common.web.slices import Slices
from common.web.tls import listen_options, refuse_unusable
from history.database import Database, database_outage
from server.access.client_limits import Limiter
from server.access.credentials import Gate
from server.access.route_access import access_control
from server.app import ROUTES, Stored, make_app
from server.clients.context import Context
from server.clients.service import Clients
from server.clients.ticket_issuer import TicketIssuer
from server.clients.usage_report import UsageReport
from server.inbox.reader import Inbox
from server.members.context import Members
from server.members.member_changes import Changes
from server.notifications.context import SentNotifications
from server.notify.accept_batcher import Acceptor
from server.notify.fast_path import NotifyFront, close_overdue
from server.notify.handler import Intake
from server.notify.head_cache import HeadReader
from server.notify.redis_watch import RedisWatch
from server.web.route import access_rules

log = logging.getLogger("roomcast.server")

BACKLOG = 1024
LIMITS_TIMEOUT_S = 1.0
"""Seconds that a request waits for Redis to count it; then nothing is counted for a while."""
FIRST_LOOK_S = 1.0
"""Seconds that a start waits for Redis to say whether it is fit."""
HISTORY_TIMEOUT_S = 2.0
"""Seconds that the routes of history wait for Redis."""


@dataclass(frozen=True, slots=True)
class History:
    """Everything that needs PostgreSQL: the routes' contexts, the clients, the connections."""

    database: Database
    redis: Redis
    contexts: Stored
    clients: Clients

    async def close(self) -> None:
        """Close the connections."""
        await self.database.close()
        await self.redis.aclose()


def make_history(settings: Settings, keys: Keys, name: str) -> History | None:
    """Make what the routes of history and clients need, or None if there is no database.

    Nothing is connected yet.
    """
    if not settings.database_url:
        return None
    database = Database(settings.database_url.get_secret_value())
    # A separate client, so that nothing here delays POST /notify.
    redis = connect(settings.redis_url, timeout_s=HISTORY_TIMEOUT_S)
    changes = Changes(redis, keys, settings, name)
    inbox = Inbox(database, redis, keys, Receipts(redis, keys, settings, name), changes)
    contexts = Stored(
        inbox,
        Members(database, changes, inbox.cache),
        SentNotifications(database, redis, keys),
    )
    return History(database, redis, contexts, Clients(database, redis, keys, settings, name))


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


async def serve(settings: Settings) -> None:
    """Serve until stopped.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    keys = Keys()
    control = connect(settings.redis_url, timeout_s=settings.accept_timeout_s)
    directory = Directory(control, keys)
    authenticator = Authenticator(directory, settings.auth_mode, settings.token_leeway_s)

    def tenants() -> int:
        return directory.tenants + (not authenticator.required)

    watch = RedisWatch(control, keys, settings, tenants)
    acceptor = Acceptor(keys, settings, lambda: watch.room)

    async def can_queue() -> str | None:
        if watch.trouble:
            return watch.trouble
        if watch.events_full:
            return "the event stream is full"
        if watch.nearly_full:
            return "redis is nearly full"
        return lacks_clients(settings, directory) if authenticator.required else None

    gate = Gate(authenticator, settings.failed_attempts_per_minute, settings.proxies)
    counting = connect(settings.redis_url, timeout_s=LIMITS_TIMEOUT_S)
    limiter = Limiter(counting, keys, directory, settings)
    usage = Usage(counting, keys, limiter.accepted)
    intake = Intake(acceptor, watch, limiter)
    readiness = Readiness(can_queue, mode_notes(settings))
    history = make_history(settings, keys, f"server-{secrets.token_hex(4)}")
    app = make_app(
        intake,
        readiness,
        access_control(
            access_rules(ROUTES), gate, limiter, registration=settings.client_registration
        ),
        Context(
            history.clients if history else None,
            directory,
            settings.token_max_ttl_s,
            UsageReport(counting, keys, limiter),
            TicketIssuer(counting, keys, settings, lambda: watch.nearly_full),
        ),
        history.contexts if history else None,
    )
    add_cors(app, settings.allows_origin)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    connections: set[NotifyFront] = set()
    slices = Slices(asyncio.get_running_loop())
    handler = plain_http(runner, slices)
    heads = HeadReader()
    tls = listen_options(settings)
    # Nothing is to be accepted by a Redis that could lose it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_LOOK_S):
            await watch.look()
    listener = await asyncio.get_running_loop().create_server(
        lambda: NotifyFront(heads, intake, gate, limiter, handler, connections, slices),
        settings.host,
        settings.port,
        backlog=BACKLOG,
        reuse_port=settings.server_processes > 1,
        **tls,
    )
    scheme = "https" if tls else "http"
    log.info("listening", extra={"url": f"{scheme}://{settings.host}:{settings.port}"})
    collect_seldom()

    async def watch_redis() -> None:
        await wait_until_reached(control)
        await watch.run()

    async def finish() -> None:
        readiness.drain()
        listener.close()
        for connection in list(connections):
            connection.stop()
        await limiter.settle()
        await acceptor.close()

    try:
        await run_until_stopped(
            watch_redis(),
            directory.run(),
            *([history.clients.sync(directory)] if history else []),
            readiness.run(watch.looked),
            close_overdue(connections),
            usage.run(),
            at_stop=finish,
        )
    finally:
        listener.close()
        await runner.cleanup()
        await usage.write()
        await control.aclose()
        await counting.aclose()
        if history:
            await history.close()
        log.info("stopped")


def main() -> None:
    """Start the server, or run the given command instead."""
    arguments = read_arguments()
    number = replica_number()
    settings = load_settings(warn=number is None)
    if arguments.command:
        # It imports Alembic, which takes longer than all other imports together.
        from server.clients.command_line import create_client

        sys.exit(
            create_client(
                settings,
                arguments.name,
                arguments.email,
                operator=arguments.admin,
                scopes=arguments.scopes,
            )
        )
    refuse_unusable(settings)
    set_up_logs(settings, f"server.{number}" if number else "server")
    try:
        run("server", settings.server_processes, lambda: serve(settings))
    except (UnfitRedisError, OSError) as error:
        log.critical("can't run", extra={"reason": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
