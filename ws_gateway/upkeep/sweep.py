"""One sweep a second looks after every connection's time limits, instead of a timer for each."""

import asyncio
import time
from typing import Final

from common.process.periodic import every
from common.web.request_head import HEAD_TIMEOUT_S, late_head
from ws_gateway import metrics
from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.sessions.gateway import Gateway
from ws_gateway.transport.connection import CLOSE_TIMEOUT_S, Connection
from ws_gateway.transport.first_bytes import Front

SWEEP_INTERVAL_S: Final = 1.0
_SLICE: Final = 1_000


class Sweep:
    """Pings quiet connections, closes silent ones, closes empty channels."""

    def __init__(self, gateway: Gateway, fronts: set[Front]) -> None:
        self._gateway = gateway
        self._fronts = fronts

    async def run(self) -> None:
        """Sweep until cancelled."""

        async def tick_and_sweep() -> None:
            self._gateway.clock.tick()
            await self.sweep()

        await every(SWEEP_INTERVAL_S, tick_and_sweep, waits_first=True)

    async def sweep(self) -> None:
        """Look once at everything, a slice at a time."""
        gateway = self._gateway
        now = gateway.clock.now
        for front in list(self._fronts):
            if now - front.since > HEAD_TIMEOUT_S + CLOSE_TIMEOUT_S:
                front.abort()
            elif now - front.since > HEAD_TIMEOUT_S:
                front.refuse(late_head())
        for index, connection in enumerate(list(gateway.connections)):
            self._look_at(connection, now)
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
        gateway.hub.close_empty(now)
        observe(gateway)

    def _look_at(self, connection: Connection, now: float) -> None:
        limits = self._gateway.limits
        if connection.closing_since is not None:
            if now - connection.closing_since > CLOSE_TIMEOUT_S:
                connection.abort()
            return
        principal = connection.principal
        expires_s = None if principal is None else principal.expires_s
        # As long as a new connection would be let in with it.
        if expires_s is not None and expires_s + limits.token_leeway_s <= time.time():
            connection.close(CloseCode.TOKEN_EXPIRED)
            return
        quiet = now - connection.seen
        if connection.user is None and not connection.busy:
            if now - connection.since > limits.registration_timeout_s:
                connection.close(CloseCode.NOT_REGISTERED)
        elif quiet > limits.ping_interval_s + limits.pong_timeout_s and connection.pinged:
            connection.close(CloseCode.NO_PONG)
        elif quiet > limits.ping_interval_s and not connection.pinged:
            connection.ping()


def observe(gateway: Gateway) -> None:
    """Set the gauges that follow from a gateway's state."""
    metrics.connections.set(len(gateway.connections))
    metrics.registered.set(len(gateway.registrations))
    metrics.in_line.set(len(gateway.pacer))
