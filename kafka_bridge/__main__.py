"""Composition root of the bridge: `python -m kafka_bridge [restore --since TIME]`."""

from kafka_bridge.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import logging
import sys

from common.config.loading import refuse
from common.config.settings import Settings
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
from kafka_bridge.brokers import check_usable, wait_for_brokers
from kafka_bridge.ingest.consumer import Ingest
from kafka_bridge.ingest.job_queue import JobQueue
from kafka_bridge.mirror.mirror import Mirror
from kafka_bridge.mirror.producer import Outbox
from kafka_bridge.restore import command as restore

log = logging.getLogger("roomcast.kafka")

REDIS_TIMEOUT_S = 5.0
DRAIN_S = 10.0
"""Time a stop waits for work in progress; unfinished work is repeated later."""


async def work(settings: Settings) -> None:
    """Mirror and ingest until stopped.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    keys = Shards().only
    redis = connect(settings.redis_url, timeout_s=max(REDIS_TIMEOUT_S, settings.accept_timeout_s))
    events_out, dead_out = Outbox(settings), Outbox(settings)
    mirror = Mirror(redis, keys, settings, events_out)
    ingest = Ingest(settings, JobQueue(redis, keys, settings), dead_out)
    connected = asyncio.Event()

    async def delivers() -> str | None:
        if not connected.is_set():
            return "kafka or redis was not reached yet"
        # Asked each time, so that it is known at once whether the brokers are away.
        away = await dead_out.trouble(settings.kafka_requests_topic)
        return mirror.trouble or ingest.trouble or away

    readiness = Readiness(delivers)
    shared = settings.kafka_bridge_processes > 1
    port = await open_ops_port(readiness, settings.host, settings.kafka_bridge_port, shared=shared)
    log.info("working", extra={"brokers": settings.kafka_brokers})

    async def bridge() -> None:
        await wait_until_reached(redis)
        await wait_for_brokers(settings)
        events_out.open()
        dead_out.open()
        connected.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(mirror.run())
            group.create_task(ingest.run())

    # Batches of thousands of small tuples make the collector look at all of them, in vain.
    collect_seldom(100_000)

    async def finish() -> None:
        if connected.is_set():
            stopping = [asyncio.ensure_future(part.stop()) for part in (mirror, ingest)]
            _, late = await asyncio.wait(stopping, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            if late:
                log.info("stopped before all events were acknowledged; they are sent again")

    async def close_producers() -> None:
        await asyncio.gather(events_out.close(1.0), dead_out.close(1.0))

    await serve_until_stopped(
        bridge(),
        readiness=readiness,
        connected=[connected],
        at_stop=finish,
        at_end=[close_producers, port.cleanup, redis.aclose],
        log=log,
    )


def main() -> None:
    """Start it, or restore."""
    arguments = read_arguments()
    settings = load_service_settings()
    if not settings.kafka_brokers:
        refuse("KAFKA_BROKERS", "it is empty, so there is nothing to bridge to; name host:port,…")
    check_usable(settings)
    start_logs(settings, "bridge")
    if arguments.command:
        sys.exit(restore.main(settings, arguments.since))
    yield_to_others(settings.reader_niceness)
    run_service("kafka_bridge", settings.kafka_bridge_processes, lambda: work(settings), log)


if __name__ == "__main__":
    main()
