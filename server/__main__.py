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

from common.accounting.usage import Usage
from common.auth.authenticator import Authenticator, mode_notes
from common.auth.client_directory import Directory
from common.config.settings import Settings
from common.process.garbage_collection import collect_seldom
from common.process.service import (
    load_service_settings,
    run_service,
    serve_until_stopped,
    start_logs,
)
from common.redis.client import connect, wait_until_reached
from common.redis.shards import Shards
from common.telemetry.readiness import Readiness
from common.web.cors import add_cors
from common.web.ports import open_port
from common.web.tls import check_usable
from server.access.client_limits import Limiter
from server.access.credentials import CredentialCheck
from server.access.route_access import access_control
from server.app import ROUTES, lacks_clients, make_app, make_history
from server.clients.context import Context
from server.clients.ticket_issuer import TicketIssuer
from server.clients.usage_report import UsageReport
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


async def serve(settings: Settings) -> None:
    """Serve until stopped.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    shards = Shards()
    keys, global_keys = shards.only, shards.global_keys
    control = connect(settings.redis_url, timeout_s=settings.accept_timeout_s)
    directory = Directory(control, global_keys)
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

    credentials = CredentialCheck(
        authenticator, settings.failed_attempts_per_minute, settings.proxies
    )
    counting = connect(settings.redis_url, timeout_s=LIMITS_TIMEOUT_S)
    limiter = Limiter(counting, global_keys, directory, settings)
    usage = Usage(counting, global_keys, limiter.accepted)
    intake = Intake(acceptor, watch, limiter)
    readiness = Readiness(can_queue, mode_notes(settings))
    history = make_history(settings, shards, f"server-{secrets.token_hex(4)}")
    app = make_app(
        intake,
        readiness,
        access_control(
            access_rules(ROUTES), credentials, limiter, registration=settings.client_registration
        ),
        Context(
            history.clients if history else None,
            directory,
            settings.token_max_ttl_s,
            UsageReport(counting, global_keys, limiter),
            TicketIssuer(counting, global_keys, settings, lambda: watch.nearly_full),
        ),
        history.stored if history else None,
    )
    add_cors(app, settings.allows_origin)
    connections: set[NotifyFront] = set()
    heads = HeadReader()
    # Nothing is to be accepted by a Redis that could lose it.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_LOOK_S):
            await watch.look()
    port = await open_port(
        app,
        lambda handler, slices: NotifyFront(
            heads, intake, credentials, limiter, handler, connections, slices
        ),
        settings,
        settings.port,
        backlog=BACKLOG,
        shared=settings.server_processes > 1,
    )
    scheme = "https" if port.is_tls else "http"
    log.info("listening", extra={"url": f"{scheme}://{settings.host}:{settings.port}"})
    collect_seldom()

    async def watch_redis() -> None:
        await wait_until_reached(control)
        await watch.run()

    async def finish() -> None:
        await port.close()
        for connection in list(connections):
            connection.stop()
        await limiter.settle()
        await acceptor.close()

    await serve_until_stopped(
        watch_redis(),
        directory.run(),
        *([history.clients.sync(directory)] if history else []),
        close_overdue(connections),
        usage.run(),
        readiness=readiness,
        connected=[watch.looked],
        at_stop=finish,
        at_end=[
            port.cleanup,
            usage.write,
            control.aclose,
            counting.aclose,
            *([history.close] if history else []),
        ],
        log=log,
    )


def main() -> None:
    """Start the server, or run the given command instead."""
    arguments = read_arguments()
    settings = load_service_settings()
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
    check_usable(settings)
    start_logs(settings, "server")
    run_service("server", settings.server_processes, lambda: serve(settings), log)


if __name__ == "__main__":
    main()
