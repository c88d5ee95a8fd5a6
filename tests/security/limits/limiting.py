"""How tests of limits set them and run into them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made

DAY_S = 86_400
LONGEST_TEST_S = 60
ROOM = {"type": "room", "userId": 1, "target": "1", "message": "hi"}


async def limit(api: Api, stack: AuthStack, client: Made, **limits: int) -> None:
    """Set limits of a client; by the return every process knows them, as a rule."""
    answer = await api(
        "PATCH",
        f"/clients/{client.id}",
        json={"limits": limits},
        headers={"x-api-key": stack.operator},
    )
    assert answer.status == 200, answer
    await asyncio.sleep(0.5)


@asynccontextmanager
async def one_more(stack: AuthStack, kind: str, **settings: str) -> AsyncIterator[str]:
    """One more process, which later tests don't see."""
    name = stack.add(kind, **settings)
    await asyncio.to_thread(stack.start, name)
    try:
        yield name
    finally:
        await asyncio.to_thread(stack.processes.pop(name).stop)


async def ask(
    session: aiohttp.ClientSession, url: str, client: Made, body: Any = ROOM
) -> tuple[int, dict[str, str], Any]:
    async with session.post(f"{url}/notify", json=body, headers=client.bearer) as response:
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, await response.json(content_type=None)


async def well_before_midnight() -> None:
    """Wait until a test whose quota is of a UTC day can't see two of them."""
    left = DAY_S - time.time() % DAY_S
    if left < LONGEST_TEST_S:
        await asyncio.sleep(left)


async def register(stack: AuthStack, gateway: int, token: str, **body: Any) -> ClientConnection:
    socket = await connect(stack.ws_urls[gateway], compression=None, proxy=None)
    await socket.send(json.dumps({"userId": "ann", "token": token, **body}))
    return socket


async def heard(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found
