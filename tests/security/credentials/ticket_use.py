"""Buying tickets, and showing them to a gateway."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.clients.api import Answered, Api
from tests.support.credentials import Made, token_of

WAYS = ["stream", "socket"]
BUYERS = ["token", "key"]


async def bought(
    api: Api, client: Made, user: str = "ann", *, by: str = "token", ttl: int = 60
) -> str:
    """A ticket for one of a client's users, who may hear room 1."""
    if by == "key":
        body = {"userId": user, "rooms": ["1"], "ttl": ttl}
        answer = await api("POST", "/tickets", json=body, headers=client.bearer)
    else:
        answer = await buy(api, await token_of(api, client, user, ttl))
    assert answer.status == 201, answer
    return str(answer.body["ticket"])


async def buy(api: Api, token: str, **more: Any) -> Answered:
    return await api("POST", "/tickets", headers={"Authorization": f"Bearer {token}"}, **more)


async def use(url: str, ticket: str, way: str = "stream", user: str = "ann") -> str:
    """Show a ticket.

    Returns:
        `registered`, or the code of the problem or the error frame.
    """
    if way == "stream":
        async with stream(url, ticket, userId=user, room="1") as (answer, events):
            if answer.status == 200:
                return (await anext(events))[0]
            assert answer.status in (401, 403, 503), await answer.text()
            problem: dict[str, Any] = await answer.json(content_type=None)
            return str(problem["code"])
    async with connect(f"{url}?ticket={ticket}", compression=None, proxy=None) as socket:
        with suppress(ConnectionClosed):
            await socket.send(json.dumps({"userId": user, "room": "1"}))
        frame = await heard(socket)
        if frame.get("code") == "ticket-not-accepted":
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4507
        return str(frame["code"] if frame["type"] == "error" else frame["type"])


async def heard(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


@asynccontextmanager
async def stream(
    url: str, ticket: str, **query: str
) -> AsyncIterator[tuple[aiohttp.ClientResponse, AsyncIterator[tuple[str, Any]]]]:
    """An event stream by a ticket: its answer, and its events, which end with it."""

    async def read(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
        while text := await answer.content.readuntil(b"\n\n"):
            fields = dict(
                line.split(": ", 1) for line in text.decode().strip().splitlines() if ": " in line
            )
            if "data" in fields:
                yield fields.get("event", "message"), json.loads(fields["data"])

    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session,
        session.get(
            url.replace("ws:", "http:") + "events", params={**query, "ticket": ticket}
        ) as answer,
    ):
        yield answer, read(answer)
