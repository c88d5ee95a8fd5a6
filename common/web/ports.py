"""Ports that a process listens on: one for operators only, or one whose connections begin here."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from common.config.settings import Settings
from common.telemetry.readiness import Readiness
from common.web.aiohttp_connection import PlainSite, plain_http
from common.web.ops_routes import ops_routes
from common.web.problem_middleware import problems, refuse_encodings
from common.web.slices import Slices
from common.web.tls import listen_options

Handler = Callable[[], asyncio.Protocol]
"""Makes the aiohttp end of a connection, for all that the port's own protocol does not answer."""


@dataclass(frozen=True, slots=True)
class Port:
    """A port whose connections begin with a protocol of ours, and may be handed to aiohttp.

    Attributes:
        is_tls: whether connections are encrypted.
    """

    is_tls: bool
    _listener: asyncio.Server
    _runner: web.AppRunner

    async def close(self) -> None:
        """Take no more connections; those that are open go on."""
        self._listener.close()

    async def cleanup(self) -> None:
        """Take no more connections, and end those that aiohttp has."""
        await self.close()
        await self._runner.cleanup()


async def open_port(
    app: web.Application,
    protocol: Callable[[Handler, Slices], asyncio.Protocol],
    settings: Settings,
    number: int,
    *,
    backlog: int,
    shared: bool,
) -> Port:
    """Listen with a protocol of ours in front of an application, with TLS if there are files.

    Args:
        app: answers what the protocol hands over.
        protocol: makes the protocol of a new connection.
        settings: address and TLS.
        number: of the port.
        backlog: connections that may wait to be accepted.
        shared: whether other processes listen there, too.

    Raises:
        OSError: the port is taken.
    """
    loop = asyncio.get_running_loop()
    runner = await _set_up(app)
    slices = Slices(loop)
    handler = plain_http(runner, slices)
    tls = listen_options(settings)
    listener = await loop.create_server(
        lambda: protocol(handler, slices),
        settings.host,
        number,
        backlog=backlog,
        reuse_port=shared,
        **tls,
    )
    return Port(bool(tls), listener, runner)


async def open_ops_port(
    readiness: Readiness, host: str, number: int, *, shared: bool
) -> web.AppRunner:
    """Listen for operators: a port with `/healthz`, `/readyz` and `/metrics` and nothing else.

    Args:
        readiness: of the process.
        host: address to listen on.
        number: of the port.
        shared: whether other processes listen there, too.

    Raises:
        OSError: the port is taken.
    """
    app = web.Application(middlewares=[problems, refuse_encodings])
    app.add_routes(ops_routes(readiness))
    runner = await _set_up(app)
    await PlainSite(runner, host, number, reuse_port=shared).start()
    return runner


async def _set_up(app: web.Application) -> web.AppRunner:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    return runner
