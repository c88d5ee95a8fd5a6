"""Composition root of the worker: `python -m worker`."""

from worker.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import contextlib
import logging
import time

from common.accounting.usage import Usage
from common.config.settings import Settings
from common.model.channels import Lane
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
from common.web.ports import open_ops_port
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
    shards = Shards()
    keys = shards.only
    control = connect(settings.redis_url, timeout_s=CONTROL_TIMEOUT_S)
    usage = Usage(control, shards.global_keys)
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
    port = await open_ops_port(
        readiness, settings.host, settings.worker_port, shared=settings.worker_processes > 1
    )
    health = f"http://{settings.host}:{settings.worker_port}"
    log.info("working", extra={"worker": holders.worker, "health": health})
    collect_seldom()
    all_ended = asyncio.Event()

    async def publish() -> None:
        await wait_until_reached(control)
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop.run())
        all_ended.set()
        await asyncio.Event().wait()

    async def finish() -> None:
        for loop in loops:
            loop.stop()
        # A loop ends after the batch in hand, at the latest when its wait for a turn is over.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(settings.lease_s + CONTROL_TIMEOUT_S):
                await all_ended.wait()

    await serve_until_stopped(
        publish(),
        holders.run(),
        observer.run(),
        trimmer.run(),
        usage.run(),
        readiness=readiness,
        connected=[holders.renewed, observer.looked],
        at_stop=finish,
        at_end=[usage.write, holders.close, port.cleanup, control.aclose],
        log=log,
    )


def main() -> None:
    """Start it."""
    read_arguments()
    settings = load_service_settings()
    start_logs(settings, "worker")
    run_service("worker", settings.worker_processes, lambda: work(settings), log)


if __name__ == "__main__":
    main()
