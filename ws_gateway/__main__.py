"""Composition root of the gateway: `python -m ws_gateway`."""

from ws_gateway.arguments import read_arguments

if __name__ == "__main__":
    # Ahead of the imports below, which take a second.
    read_arguments()

import asyncio
import itertools
import logging
import secrets
import sys

from aiohttp import web

from common.accounting.connection_counts import ConnectionCounts
from common.accounting.usage import Usage
from common.auth.authenticator import Authenticator, mode_notes
from common.auth.client_directory import Directory
from common.config.settings import Settings, load_settings
from common.events.receipts import Receipts
from common.model.problem_codes import ProblemCode
from common.model.problems import Problem
from common.process.garbage_collection import collect_seldom
from common.process.replicas import replica_number, run, run_until_stopped
from common.redis.client import UnfitRedisError, connect, wait_until_reached
from common.redis.keys import Keys
from common.telemetry.logs import set_up_logs
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import plain_http
from common.web.cors import EVENTS_HEADERS, add_cors
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems, refuse_encodings
from common.web.slices import Slices
from common.web.tls import listen_options, refuse_unusable
from ws_gateway.admission.admission import Admission
from ws_gateway.admission.connection_quota import Seats
from ws_gateway.admission.pacer import Pacer
from ws_gateway.admission.ticket_desk import TicketDesk
from ws_gateway.channels.catch_up import CatchUp
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.hub import Hub
from ws_gateway.channels.log_reader import LogReader
from ws_gateway.channels.member import HeardChannel
from ws_gateway.channels.pending import Pending
from ws_gateway.channels.run import Run
from ws_gateway.channels.subscription import Subscription
from ws_gateway.protocol.event_stream_format import EVENTS_PATH
from ws_gateway.reports.delivered_usage import DeliveredUsage
from ws_gateway.reports.delivery_counts import WriteCounts
from ws_gateway.reports.first_sights import Sights
from ws_gateway.reports.read_on_delivery import ReadOnDelivery
from ws_gateway.reports.receipts import ReceiptWriter
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.sessions.gateway import Gateway
from ws_gateway.transport.clock import Clock
from ws_gateway.transport.first_bytes import Front
from ws_gateway.upkeep.drain import drain
from ws_gateway.upkeep.open_files import raise_open_files
from ws_gateway.upkeep.probe import PathProbe
from ws_gateway.upkeep.sweep import Sweep

log = logging.getLogger("roomcast.gateway")

CONTROL_TIMEOUT_S = 5.0
TICKETS_TIMEOUT_S = 2.0
"""Time a connection with a ticket waits for Redis."""
BACKLOG = 4096


async def _close_after_answer(_: web.Request, response: web.StreamResponse) -> None:
    # An upgrade must never come on a connection that aiohttp holds.
    response.force_close()
    response.headers["Connection"] = "close"


async def _no_stream(_: web.Request) -> web.Response:
    # Streams are answered by `Front`: this is for what else may be asked of their path.
    raise web.HTTPNotFound


async def _no_socket(_: web.Request) -> web.Response:
    # Somebody opened the port in a browser, or with curl. Handshakes are answered by `Front`.
    raise Problem(
        ProblemCode.UPGRADE_REQUIRED,
        "here are WebSockets: connect with ws:// or wss://; GET /events has Server-Sent Events",
        headers={"Upgrade": "websocket"},
    )


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
    keys = Keys()
    control = connect(settings.redis_url, timeout_s=CONTROL_TIMEOUT_S)
    gateway_id = secrets.token_hex(4)
    reader = LogReader(control, keys)
    counts = WriteCounts(control, keys, gateway_id)
    receipts = ReceiptWriter(control, Receipts(control, keys, settings, gateway_id))
    delivered = DeliveredUsage()
    usage = Usage(control, keys, delivered.counted)
    listeners = [delivered.note]
    if settings.reader_groups:
        listeners.append(counts.note)
    if settings.read_on_delivery:
        listeners.append(ReadOnDelivery(receipts).note)

    def written(channel: Channel, items: list[Pending], sockets: int) -> None:
        for listener in listeners:
            listener(channel, items, sockets)

    def replayed(channel: HeardChannel, runs: list[Run]) -> None:
        delivered.note_replayed(channel, runs)
        if settings.reader_groups:
            counts.note_replayed(channel, runs)

    hub = Hub(keys, reader, loop, settings.subscriber_max_bytes, written)
    sent = SentIds(control, keys, hub.channels)
    listeners.append(sent.note)
    sights = Sights(control, keys, settings, gateway_id)
    catch_up = CatchUp(reader, replayed, sent.note_read)
    clock = Clock()
    pacer = Pacer(loop, lambda: hub.received)
    directory = Directory(control, keys)
    authenticator = Authenticator(directory, settings.auth_mode, settings.token_leeway_s)
    seats = Seats(ConnectionCounts(control, keys), directory, settings, gateway_id)
    redeeming = connect(settings.redis_url, timeout_s=TICKETS_TIMEOUT_S)
    tickets = TicketDesk(redeeming, keys)
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

    app = web.Application(middlewares=[problems, refuse_encodings])

    def may_measure(request: web.Request) -> None:
        # On this port are the sockets of everybody.
        authenticator.operator_of(
            request.headers.get("Authorization"), request.headers.get("x-api-key")
        )

    app.add_routes(
        [
            *ops_routes(readiness, may_measure),
            web.get("/", _no_socket),
            web.get(EVENTS_PATH, _no_stream, allow_head=False),
        ]
    )
    add_cors(app, settings.allows_origin, EVENTS_HEADERS)
    app.on_response_prepare.append(_close_after_answer)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    fronts: set[Front] = set()
    numbers = itertools.count(1)
    handler = plain_http(runner, Slices(loop))
    tls = listen_options(settings)
    listener = await loop.create_server(
        lambda: Front(gateway, fronts, handler, next(numbers)),
        settings.host,
        settings.ws_port,
        backlog=BACKLOG,
        reuse_port=settings.gateway_processes > 1,
        **tls,
    )
    scheme = "wss" if tls else "ws"
    log.info(
        "listening",
        extra={"url": f"{scheme}://{settings.host}:{settings.ws_port}/", "gateway": gateway.id},
    )
    collect_seldom()

    async def subscribe() -> None:
        await wait_until_reached(control)
        await subscription.run()

    async def finish() -> None:
        readiness.drain()
        listener.close()
        await drain(gateway, settings.drain_s)

    try:
        await run_until_stopped(
            subscribe(),
            hub.run_opening(),
            hub.run_checks(settings.gap_check_interval_s),
            Sweep(gateway, fronts).run(),
            receipts.run(),
            tickets.run(),
            sights.run(),
            directory.run(),
            seats.run(),
            counts.run(),
            usage.run(),
            readiness.run(subscription.was_up),
            at_stop=finish,
        )
    finally:
        listener.close()
        await gateway.close()
        await hub.close()
        await sights.flush()
        await counts.report()
        await usage.write()
        await seats.close()
        await runner.cleanup()
        await redeeming.aclose()
        await control.aclose()
        log.info("stopped")


def main() -> None:
    """Start it."""
    read_arguments()
    number = replica_number()
    settings = load_settings(warn=number is None)
    refuse_unusable(settings)
    set_up_logs(settings, f"gateway.{number}" if number else "gateway")
    try:
        run("ws_gateway", settings.gateway_processes, lambda: serve(settings))
    except (UnfitRedisError, OSError) as error:
        log.critical("can't run", extra={"reason": str(error)})
        sys.exit(1)


if __name__ == "__main__":
    main()
