"""Receipts of registered connections: limited, checked against what was sent, written, answered."""

import time
from typing import Final

from common.auth.principal import Principal
from common.config.settings import Settings
from common.errors import REDIS_ERRORS
from common.events.receipts import IDS_MAX
from common.model.problem_codes import ProblemCode
from common.telemetry.outage import redis_outage
from ws_gateway import metrics
from ws_gateway.protocol.messages import MessageError, Receipt, receipt_text
from ws_gateway.reports.receipt_limits import Buckets, ReceiptLimits
from ws_gateway.reports.receipts import ReceiptWriter
from ws_gateway.reports.sent_ids import SentIds
from ws_gateway.sessions.channel_membership import channel_names
from ws_gateway.sessions.connection_tasks import ConnectionTasks
from ws_gateway.transport.connection import Connection

REFUSED_MAX: Final = 100
"""Ids that an error names."""
_NO_RECEIPTS: Final = MessageError(
    ProblemCode.UNAVAILABLE, "receipts can't be taken now; try again"
)


class ReceiptDesk:
    """Takes receipts.

    Args:
        receipts: where they go.
        sent: knows what may have receipts.
        tasks: in which they are written.
        limits: how many a user and a client application may write.
        limits_clients: whether client applications have a limit.
    """

    def __init__(
        self,
        receipts: ReceiptWriter,
        sent: SentIds,
        tasks: ConnectionTasks,
        limits: Settings,
        *,
        limits_clients: bool,
    ) -> None:
        self._receipts = receipts
        self._sent = sent
        self._tasks = tasks
        self._per_s = limits.user_receipts_per_s
        of_client = limits.client_receipts_per_s
        self._limits = ReceiptLimits(
            Buckets(limits.user_receipts_per_s, limits.user_receipts_burst),
            Buckets(of_client, of_client + IDS_MAX) if limits_clients else None,
        )

    def take(self, connection: Connection, message: Receipt) -> None:
        """Take receipts; the connection waits until they are answered.

        Raises:
            MessageError: they are too many.
        """
        user, principal = connection.user, connection.principal
        assert user is not None
        assert principal is not None
        client = principal.client
        if not self._limits.take(client, user, len(message.ids), time.monotonic()):
            raise MessageError(
                ProblemCode.TOO_MANY_RECEIPTS,
                f"at most {self._per_s:g} receipts per second; try again later",
            )
        unknown = self._sent.unknown(connection, message.ids)
        if unknown and not self._sent.may_look(client, user):
            raise MessageError(
                ProblemCode.TOO_MANY_RECEIPTS,
                "too many receipts for what was sent long ago or not at all; try again later",
            )
        connection.wait()
        self._tasks.start(connection, self._record(connection, message, principal, user, unknown))

    async def _record(
        self,
        connection: Connection,
        message: Receipt,
        principal: Principal,
        user: str,
        unknown: list[str],
    ) -> None:
        try:
            refused = await self._not_sent(connection, principal, user, unknown)
        except REDIS_ERRORS as error:
            redis_outage.noticed("checking receipts", error)
            connection.refuse(_NO_RECEIPTS)
            connection.resume()
            return
        strange, client = set(refused), principal.client
        ids = [one for one in message.ids if one not in strange]
        if not ids:
            connection.refuse(_not_sent(refused))
        elif await self._receipts.write(message.kind, client, user, ids, connection.id):
            metrics.receipts.labels(message.kind).inc(len(ids))
            connection.send(receipt_text(message.kind, user, ids, refused))
        else:
            connection.refuse(_NO_RECEIPTS)
        connection.resume()

    async def _not_sent(
        self, connection: Connection, principal: Principal, user: str, unknown: list[str]
    ) -> list[str]:
        """Those of the ids that Redis doesn't know to have been sent to a user either."""
        if not unknown:
            return []
        names = channel_names(principal, user, connection.rooms)
        found = await self._sent.look(principal.client, user, unknown, names)
        return [one for one in unknown if one not in found]


def _not_sent(ids: list[str]) -> MessageError:
    return MessageError(
        ProblemCode.NOT_SENT,
        f"{len(ids)} of these were not sent to this user in the channels of this connection, or "
        "too long ago: what is only in the inbox is marked as read over HTTP",
        ids[:REFUSED_MAX],
    )
