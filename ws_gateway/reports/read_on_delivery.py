"""Read receipts for live deliveries, if a setting asks for them."""

import asyncio
import logging
from typing import Final

from common.events.event import EventKind
from common.model.channels import client_of, user_channel
from ws_gateway.channels.channel import Channel
from ws_gateway.channels.pending import Pending
from ws_gateway.protocol.notification_id import notification_id
from ws_gateway.reports.receipts import ReceiptWriter

log = logging.getLogger("roomcast.gateway")

_USER: Final = user_channel("")


class ReadOnDelivery:
    """Writes `read` receipts for private notifications that reached a socket of their user."""

    def __init__(self, receipts: ReceiptWriter) -> None:
        self._receipts = receipts
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, channel: Channel, items: list[Pending], written: int) -> None:
        """Note that these publications were written to so many sockets."""
        if not written or not channel.label.startswith(_USER):
            return
        ids = [notification_id(item.text) for item in items if not item.is_reset]
        if ids:
            client, user = client_of(channel.name), channel.label[len(_USER) :]
            task = asyncio.ensure_future(self._record(client, user, ids))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _record(self, client: str, user: str, ids: list[str]) -> None:
        if not await self._receipts.write(EventKind.READ, client, user, ids, ""):
            log.info("what was delivered could not be marked as read", extra={"user": user})
