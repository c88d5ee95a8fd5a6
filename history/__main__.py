"""Composition root of the history writer: `python -m history`."""

from history.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import contextlib
import logging
import sys
from typing import Final

from common.config.loading import refuse
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.events.group_reader import EventReader
from common.model.channels import HISTORY_GROUP
from common.process.garbage_collection import collect_seldom
from common.process.niceness import yield_to_others
from common.process.service import (
    load_service_settings,
    run_service,
    serve_until_stopped,
    start_logs,
)
from common.redis.client import connect, wait_until_reached
from common.redis.shards import Shards
from common.telemetry.readiness import Readiness
from common.web.ports import open_ops_port
from history.schema.migrate import DATABASE_ERRORS, describe, migrate
from history.writing.partitions import Partitions
from history.writing.store import Store
from history.writing.writer import Writer

log = logging.getLogger("roomcast.history")

REDIS_TIMEOUT_S: Final = 5.0
FINISH_TIMEOUT_S: Final = 10.0
COLLECTED_EVERY: Final = 200_000
"""A batch is tens of thousands of objects without a cycle; with Python's own thresholds a third of
the time goes into looking for cycles."""


async def write_history(settings: Settings) -> None:
    """Write events until stopped.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    redis = connect(settings.redis_url, timeout_s=REDIS_TIMEOUT_S)
    reader = EventReader(
        redis, settings.redis_url, Shards().only, HISTORY_GROUP, batch=settings.history_batch_max
    )
    partitions = Partitions(settings.history_retention_days)
    store = Store(settings.database_url.get_secret_value(), partitions)
    writer = Writer(reader, store, partitions, delay_s=settings.history_delay_s)

    async def writes() -> str | None:
        # A replica that waits for its turn to lead is ready as well: nothing troubles it.
        return "; ".join(f"{part}: {why}" for part, why in writer.trouble.items() if why) or None

    readiness = Readiness(writes)
    port = await open_ops_port(
        readiness, settings.host, settings.history_port, shared=settings.history_processes > 1
    )
    health = f"http://{settings.host}:{settings.history_port}"
    log.info("writing", extra={"consumer": reader.name, "health": health})
    if HISTORY_GROUP not in settings.reader_groups:
        log.warning("EVENT_READERS does not name history: events may be trimmed unread")

    async def write() -> None:
        await wait_until_reached(redis)
        collect_seldom(COLLECTED_EVERY)
        await writer.run()

    async def finish() -> None:
        # What can't be written by then is not acknowledged, and comes again.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINISH_TIMEOUT_S):
                await writer.finish()

    async def give_up_lead() -> None:
        store.drop_connections()
        with contextlib.suppress(*REDIS_ERRORS):
            await reader.close()

    await serve_until_stopped(
        write(),
        readiness=readiness,
        connected=[writer.answered],
        at_stop=finish,
        at_end=[give_up_lead, port.cleanup, redis.aclose],
        log=log,
    )


def _migrate(settings: Settings) -> int:
    try:
        asyncio.run(migrate(settings.database_url.get_secret_value()))
    except DATABASE_ERRORS as error:
        sys.stderr.write(f"the database was not changed: {describe(error)}\n")
        return 1
    sys.stdout.write("the database has this version's tables\n")
    return 0


def main() -> None:
    """Start it, or do what the command line says instead."""
    arguments = read_arguments()
    settings = load_service_settings()
    start_logs(settings, "history")
    # It tells at every start which database it speaks.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    if not settings.database_url:
        refuse("DATABASE_URL", "it is empty, so there is no history to write; name PostgreSQL's")
    if arguments.command:
        sys.exit(_migrate(settings))
    yield_to_others(settings.reader_niceness)
    run_service("history", settings.history_processes, lambda: write_history(settings), log)


if __name__ == "__main__":
    main()
