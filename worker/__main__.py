"""Composition root of the worker: `python -m worker`."""

from worker.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import logging
import sys
import time

from aiohttp import web

from common.accounting.usage import Usage
from common.config.settings import Settings, load_settings
from common.model.channels import Lane
from common.process.garbage_collection import collect_seldom
from common.process.replicas import replica_number, run, run_until_stopped
from common.redis.client import UnfitRedisError, connect, wait_until_reached
from common.redis.keys import Keys
from common.telemetry.logs import set_up_logs
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import PlainSite
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems, refuse_encodings
from worker.event_trimmer import EventTrimmer
from worker.lane_loop import LaneLoop
from worker.leases import Holders
from worker.open_door import DoorLoop
from worker.queue_gauges import QueueObserver

log = logging.getLogger("roomcast.worker")

CONTROL_TIMEOUT_S = 5.0


async def work(settings: Settings) -> None:
    """Publish until stopped.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    keys = Keys()
    control = connect(settings.redis_url, timeout_s=CONTROL_TIMEOUT_S)
    usage = Usage(control, keys)
    holders = Holders(control, keys, settings, usage)
    trimmer = EventTrimmer(control, keys, settings)
    observer = QueueObserver(control, keys)
    loops: list[LaneLoop | DoorLoop] = [
        LaneLoop(lane, number, holders, keys, settings, usage)
        for lane in Lane
        for number in range(settings.lane_loops)
    ]
    loops += [DoorLoop(lane, holders.worker, trimmer, keys, settings) for lane in Lane]

    async def holds_leases() -> str | None:
        silent_s = time.monotonic() - holders.renewed_at
        return observer.unfit if silent_s < settings.lease_s else "leases could not be renewed"

    readiness = Readiness(holds_leases, trimmer.notes)
    app = web.Application(middlewares=[problems, refuse_encodings])
    app.add_routes(ops_routes(readiness))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    site = PlainSite(
        runner, settings.host, settings.worker_port, reuse_port=settings.worker_processes > 1
    )
    await site.start()
    log.info(
        "working",
        extra={
            "worker": holders.worker,
            "health": f"http://{settings.host}:{settings.worker_port}",
        },
    )

    async def publish() -> None:
        await wait_until_reached(control)
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop.run())

    collect_seldom()
    publishing = asyncio.ensure_future(publish())

    async def keep_publishing() -> None:
        await asyncio.shield(publishing)
        await asyncio.Event().wait()

    async def finish() -> None:
        readiness.drain()
        for loop in loops:
            loop.stop()
        # A loop ends after the batch in hand, at the latest when its wait for a turn is over.
        await asyncio.wait([publishing], timeout=settings.lease_s + CONTROL_TIMEOUT_S)

    try:
        await run_until_stopped(
            keep_publishing(),
            holders.run(),
            observer.run(),
            trimmer.run(),
            usage.run(),
            readiness.run(holders.renewed, observer.looked),
            at_stop=finish,
        )
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await usage.write()
        await holders.close()
        await runner.cleanup()
        await control.aclose()
        log.info("stopped")


def main() -> None:
    """Start it."""
    read_arguments()
    number = replica_number()
    settings = load_settings(warn=number is None)
    set_up_logs(settings, f"worker.{number}" if number else "worker")
    try:
        run("worker", settings.worker_processes, lambda: work(settings))
    except (UnfitRedisError, OSError) as error:
        log.critical("can't run", extra={"reason": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
