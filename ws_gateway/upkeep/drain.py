"""Shutdown of a gateway: all connections are asked to come back elsewhere, spread over time."""

import asyncio
import logging
import random
import time

from ws_gateway.protocol.close_codes import CloseCode
from ws_gateway.sessions.gateway import Gateway
from ws_gateway.transport.connection import CLOSE_TIMEOUT_S

log = logging.getLogger("roomcast.gateway")

_STEP_S = 0.05


async def drain(gateway: Gateway, over_s: float) -> None:
    """Close every connection with 1012, spread over `over_s` seconds, then drop what is left.

    The connections of one gateway come back to the others; all at once would be a storm.
    """
    gateway.draining = True
    waiting = list(gateway.connections)
    random.shuffle(waiting)
    log.info("draining", extra={"connections": len(waiting), "seconds": over_s})
    began, total = time.monotonic(), len(waiting)
    while waiting:
        due = total if over_s <= 0 else int(total * (time.monotonic() - began) / over_s) + 1
        while waiting and total - len(waiting) < due:
            waiting.pop().close(CloseCode.RESTARTING)
        await asyncio.sleep(_STEP_S)
    deadline = time.monotonic() + CLOSE_TIMEOUT_S
    while gateway.connections and time.monotonic() < deadline:
        await asyncio.sleep(_STEP_S)
    for connection in list(gateway.connections):
        connection.abort()
