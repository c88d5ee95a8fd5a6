"""Seats: how many connections a client may have over all gateways, and rooms on each.

A connection takes its seat when it registers. What other gateways have is known from what they said
within the last second or so, so that a storm that reaches several gateways at once may go past the
limit by what came within that time; a gateway alone is exact.
"""

import logging
from collections import Counter
from typing import Final

from common.accounting.connection_counts import ConnectionCounts
from common.auth.client_directory import Directory
from common.auth.client_records import ClientLimits
from common.auth.principal import OPEN, Principal
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.model.problem_codes import ProblemCode
from common.process.periodic import every
from ws_gateway.admission.applicant import Applicant
from ws_gateway.protocol.messages import MessageError

log = logging.getLogger("roomcast.gateway")

REPORT_INTERVAL_S: Final = 1.0
ROOMS_MAX: Final = 10_000
"""Rooms in one message of a connection whose client is not known yet."""


class Seats:
    """The seats of this gateway.

    Args:
        counts: what the gateways tell one another.
        directory: the clients.
        settings: limits of a client whose record says nothing.
        gateway: name of this one.
    """

    def __init__(
        self, counts: ConnectionCounts, directory: Directory, settings: Settings, gateway: str
    ) -> None:
        self._counts = counts
        self._directory = directory
        self._settings = settings
        self._gateway = gateway
        self._here: Counter[str] = Counter()
        self._elsewhere: Counter[str] = Counter()

    def rooms(self, principal: Principal | None) -> int:
        """Return the maximum rooms per connection; `ROOMS_MAX` without a principal."""
        if principal is None:
            return max(ROOMS_MAX, self._settings.max_rooms)
        return self._limits(principal).rooms_per_connection or self._settings.max_rooms

    def check(self, connection: Applicant) -> None:
        """Check that the client of a connection may have one more.

        Raises:
            MessageError: `too-many-connections`.
        """
        principal = connection.principal
        if principal is None or principal is OPEN or connection.seat:
            return
        most = self._limits(principal).connections or self._settings.client_max_connections
        if self._here[principal.client] + self._elsewhere[principal.client] >= most:
            raise MessageError(
                ProblemCode.TOO_MANY_CONNECTIONS, f"this client has its {most} connections"
            )

    def take(self, connection: Applicant) -> None:
        """Give a connection its seat, once.

        Raises:
            MessageError: there is none.
        """
        self.check(connection)
        principal = connection.principal
        if principal is not None and principal is not OPEN and not connection.seat:
            connection.seat = principal.client
            self._here[principal.client] += 1

    def leave(self, connection: Applicant) -> None:
        """Take a connection's seat back, if it has one."""
        client, connection.seat = connection.seat, ""
        if client:
            self._here[client] -= 1
            if not self._here[client]:
                del self._here[client]

    async def run(self) -> None:
        """Tell the other gateways and hear them, until cancelled."""
        told = False

        async def exchange() -> None:
            nonlocal told
            if self._here or told:
                await self._counts.write(self._gateway, self._here)
                told = bool(self._here)
            self._elsewhere = await self._counts.read(but=self._gateway)

        await every(REPORT_INTERVAL_S, exchange, part="seats")

    async def close(self) -> None:
        """Tell the others that this gateway is gone."""
        try:
            await self._counts.forget(self._gateway)
        except REDIS_ERRORS as error:
            log.info("the quota could not be given back; it expires", extra={"reason": str(error)})

    def _limits(self, principal: Principal) -> ClientLimits:
        record = None if principal is OPEN else self._directory.client(principal.client)
        return ClientLimits() if record is None else record.limits
