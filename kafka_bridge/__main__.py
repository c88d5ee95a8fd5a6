"""Composition root of the bridge: `python -m kafka_bridge [restore --since TIME]`."""

from kafka_bridge.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import logging
import sys

from aiohttp import web
from confluent_kafka import KafkaException

from common.config.settings import Settings, load_settings, refuse
from common.process.backoff import jittered
from common.process.garbage_collection import collect_seldom
from common.process.niceness import yield_to_others
from common.process.replicas import replica_number, run, run_until_stopped
from common.redis.client import UnfitRedisError, connect, wait_until_reached
from common.redis.keys import Keys
from common.telemetry.logs import set_up_logs
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import PlainSite
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems, refuse_encodings
from kafka_bridge.brokers import kafka_outage, make_topics, refuse_unusable, report_lost
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
    keys = Keys()
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
    app = web.Application(middlewares=[problems, refuse_encodings])
    app.add_routes(ops_routes(readiness))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = PlainSite(
        runner,
        settings.host,
        settings.kafka_bridge_port,
        reuse_port=settings.kafka_bridge_processes > 1,
    )
    await site.start()
    log.info("working", extra={"brokers": settings.kafka_brokers})

    async def bridge() -> None:
        await wait_until_reached(redis)
        await _wait_for_brokers(settings)
        events_out.open()
        dead_out.open()
        connected.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(mirror.run())
            group.create_task(ingest.run())

    # Batches of thousands of small tuples make the collector look at all of them, in vain.
    collect_seldom(100_000)

    async def finish() -> None:
        readiness.drain()
        if connected.is_set():
            stopping = [asyncio.ensure_future(part.stop()) for part in (mirror, ingest)]
            _, late = await asyncio.wait(stopping, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            if late:
                log.info("not all was settled; it will come again")

    try:
        await run_until_stopped(bridge(), readiness.run(connected), at_stop=finish)
    finally:
        await asyncio.gather(events_out.close(1.0), dead_out.close(1.0))
        await runner.cleanup()
        await redis.aclose()
        log.info("stopped")


async def _wait_for_brokers(settings: Settings) -> None:
    """Wait until the events topic is there, as long as it takes."""
    for wait in jittered():
        try:
            await asyncio.to_thread(make_topics, settings, settings.kafka_events_topic)
        except KafkaException as error:
            report_lost("start", error)
            await asyncio.sleep(wait)
        else:
            kafka_outage.back("start")
            return


def main() -> None:
    """Start it, or restore."""
    arguments = read_arguments()
    number = replica_number()
    settings = load_settings(warn=number is None)
    if not settings.kafka_brokers:
        refuse("KAFKA_BROKERS", "it is empty, so there is nothing to bridge to; name host:port,…")
    refuse_unusable(settings)
    set_up_logs(settings, f"bridge.{number}" if number else "bridge")
    if arguments.command:
        sys.exit(restore.main(settings, arguments.since))
    yield_to_others(settings.reader_niceness)
    try:
        run("kafka_bridge", settings.kafka_bridge_processes, lambda: work(settings))
    except (UnfitRedisError, OSError) as error:
        log.critical("can't run", extra={"reason": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
