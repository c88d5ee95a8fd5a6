"""Composition root of the gateway: `python -m ws_gateway`."""

from ws_gateway.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import itertools
import logging
import secrets

from common.accounting.connection_counts import ConnectionCounts
from common.auth.authenticator import Authenticator, mode_notes
from common.auth.client_directory import Directory
from common.config.settings import Settings
from common.events.receipts import Receipts
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
from common.web.ports import open_port
from common.web.tls import check_usable
from ws_gateway.admission.admission import Admission
from ws_gateway.admission.connection_quota import Seats
from ws_gateway.admission.pacer import Pacer
from ws_gateway.admission.ticket_desk import TicketDesk
from ws_gateway.channels.catch_up import CatchUp
from ws_gateway.channels.hub import Hub
from ws_gateway.channels.log_reader import LogReader
from ws_gateway.channels.subscription import Subscription
from ws_gateway.reports.first_sights import Sights
from ws_gateway.reports.receipts import ReceiptWriter
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.reports.write_reports import WriteReports
from ws_gateway.sessions.gateway import Gateway
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.first_bytes import Front
from ws_gateway.transport.http_app import make_http_app
from ws_gateway.upkeep.drain import drain
from ws_gateway.upkeep.open_files import raise_open_files
from ws_gateway.upkeep.probe import PathProbe
from ws_gateway.upkeep.sweep import Sweep

log = logging.getLogger("roomcast.gateway")

CONTROL_TIMEOUT_S = 5.0
TICKETS_TIMEOUT_S = 2.0
"""Time a connection with a ticket waits for Redis."""
BACKLOG = 4096


async def serve(settings: Settings) -> None:
    """Fan out until stopped, then drain.

    Raises:
        UnfitRedisError: Redis is too old.
        OSError: the port is taken.
    """
    limits = settings.model_copy(
        update={
            "max_connections": raise_open_files(
                settings.max_connections, asked_for="max_connections" in settings.model_fields_set
            )
        }
    )
    loop = asyncio.get_running_loop()
    shards = Shards()
    keys, global_keys = shards.only, shards.global_keys
    control = connect(settings.redis_url, timeout_s=CONTROL_TIMEOUT_S)
    gateway_id = secrets.token_hex(4)
    reader = LogReader(control, keys)
    receipts = ReceiptWriter(control, Receipts(control, shards, settings, gateway_id))
    reports = WriteReports(control, shards, settings, receipts, gateway_id)
    hub = Hub(keys, reader, loop, settings.subscriber_max_bytes, reports.written)
    sent = SentIds(control, keys, hub.channels)
    reports.listeners.append(sent.note)
    sights = Sights(control, keys, settings, gateway_id)
    catch_up = CatchUp(reader, reports.replayed, sent.note_read)
    clock = Clock()
    pacer = Pacer(loop, lambda: hub.received)
    directory = Directory(control, global_keys)
    authenticator = Authenticator(directory, settings.auth_mode, settings.token_leeway_s)
    seats = Seats(ConnectionCounts(control, global_keys), directory, settings, gateway_id)
    redeeming = connect(settings.redis_url, timeout_s=TICKETS_TIMEOUT_S)
    tickets = TicketDesk(redeeming, global_keys)
    admission = Admission(authenticator, seats, tickets, limits)
    gateway = Gateway(
        hub, catch_up, receipts, sent, sights, pacer, admission, limits, clock, gateway_id
    )
    directory.listeners.append(gateway.client_changed)
    probe = PathProbe(control, keys, hub, gateway.id)
    hub.subscription = subscription = Subscription(
        settings.redis_url,
        f"gateway-{gateway.id}",
        hub.wanted,
        hub.on_message,
        hub.on_read,
        hub.on_up,
    )
    readiness = Readiness(probe, mode_notes(settings))

    fronts: set[Front] = set()
    numbers = itertools.count(1)
    port = await open_port(
        make_http_app(readiness, authenticator, settings),
        lambda handler, _: Front(gateway, fronts, handler, next(numbers)),
        settings,
        settings.ws_port,
        backlog=BACKLOG,
        shared=settings.gateway_processes > 1,
    )
    scheme = "wss" if port.is_tls else "ws"
    log.info(
        "listening",
        extra={"url": f"{scheme}://{settings.host}:{settings.ws_port}/", "gateway": gateway.id},
    )
    collect_seldom()

    async def subscribe() -> None:
        await wait_until_reached(control)
        await subscription.run()

    async def finish() -> None:
        await port.close()
        await drain(gateway, settings.drain_s)

    await serve_until_stopped(
        subscribe(),
        hub.run_opening(),
        hub.run_checks(settings.gap_check_interval_s),
        Sweep(gateway, fronts).run(),
        receipts.run(),
        tickets.run(),
        sights.run(),
        directory.run(),
        seats.run(),
        reports.counts.run(),
        reports.usage.run(),
        readiness=readiness,
        connected=[subscription.was_up],
        at_stop=finish,
        at_end=[
            port.close,
            gateway.close,
            hub.close,
            sights.flush,
            reports.counts.report,
            reports.usage.write,
            seats.close,
            port.cleanup,
            redeeming.aclose,
            control.aclose,
        ],
        log=log,
    )


def main() -> None:
    """Start it."""
    read_arguments()
    settings = load_service_settings()
    check_usable(settings)
    start_logs(settings, "gateway")
    run_service("ws_gateway", settings.gateway_processes, lambda: serve(settings), log)


if __name__ == "__main__":
    main()
