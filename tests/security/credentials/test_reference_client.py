"""The reference client where credentials are required: it shows new tokens in time."""

import asyncio
from typing import Any

import pytest

from sdk.python.roomcast_client import RefusedError, RoomcastClient
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.waiting import until


class Listening:
    """A client and what it got; a context manager."""

    def __init__(self, client: RoomcastClient) -> None:
        self.client = client
        self.heard: list[str] = []

    async def __aenter__(self) -> "Listening":
        await self.client.__aenter__()
        self._task = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self.client.close()

    async def _listen(self) -> None:
        async for message in self.client:
            self.heard.append(message["id"])


async def test_it_refreshes_its_token_and_comes_back_if_that_failed(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    calls = 0
    fails = False

    async def token() -> str:
        nonlocal calls
        calls += 1
        if fails:
            raise ConnectionError("the application's own server is away")
        return await token_of(api, shop, ttl=2)

    async def send() -> str:
        body: dict[str, Any] = {"userId": 1, "type": "private", "target": "ann", "message": "hi"}
        answer = await api("POST", "/notify", json=body, headers=shop.bearer)
        return str(answer.body["id"])

    async with Listening(RoomcastClient(auth_stack.ws_urls[0], "ann", token=token)) as listening:
        client = listening.client
        await until(lambda: calls >= 3)
        sent = [await send()]
        await until(lambda: listening.heard == sent)
        assert client.connects == 1, "a token was refreshed too late"
        fails = True
        await until(lambda: client._socket is None)
        sent.append(await send())
        fails = False
        await until(lambda: listening.heard == sent)
        assert (client.connects, client.duplicates) == (2, 0)


async def test_it_ends_when_its_only_token_does(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    text = await token_of(api, shop, ttl=1)
    async with RoomcastClient(auth_stack.ws_urls[0], "ann", token=text) as client:
        with pytest.raises(RefusedError, match="4503"):
            await asyncio.wait_for(anext(aiter(client)), 10)
