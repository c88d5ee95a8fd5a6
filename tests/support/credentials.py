"""Stacks that require credentials, and how a test gets some."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.support.clients.api import Api
from tests.support.processes.stack import Stack
from tests.support.waiting import until

ROOM = {"type": "room", "userId": 1, "target": "1", "message": "hi"}


@dataclass(frozen=True, slots=True)
class Made:
    """A client as it was answered once."""

    id: str
    key: str

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


class AuthStack(Stack):
    """A stack with `AUTH_MODE=required`, and the key of an operator."""

    def __enter__(self) -> Self:
        self.valkey.start()
        self.operator = self.run("server", "create-client", "--admin", "operator", "o@example.com")
        super().__enter__()
        return self


async def make_client(api: Api, stack: AuthStack, name: str = "shop") -> Made:
    answer = await api(
        "POST",
        "/clients",
        json={"name": name, "email": f"{name}@example.com"},
        headers={"x-api-key": stack.operator},
    )
    assert answer.status == 201, answer
    made = Made(answer.body["clientId"], answer.body["apiKey"])
    # As a rule it is known everywhere by now; a busy machine may take longer.
    async with aiohttp.ClientSession() as session:
        for url in stack.http_urls:

            async def known(url: str = url) -> bool:
                async with session.get(f"{url}/clients/me", headers=made.bearer) as response:
                    return response.status == 200

            await until(known)
        text = await token_of(api, made)
        for url in stack.ws_urls:

            async def heard(url: str = url) -> bool:
                async with session.get(
                    f"{url.replace('ws:', 'http:')}events?userId=ann",
                    headers={"Authorization": f"Bearer {text}"},
                ) as response:
                    return response.status == 200

            await until(heard)
    return made


async def token_of(
    api: Api, client: Made, user: str = "ann", ttl: int = 60, rooms: Sequence[Any] = ("1",)
) -> str:
    """A token for one of a client's users."""
    body = {"userId": user, "rooms": list(rooms), "ttl": ttl}
    answer = await api("POST", "/tokens", json=body, headers=client.bearer)
    assert answer.status == 201, answer
    return str(answer.body["token"])


async def accepts(stack: AuthStack, server: int, key: str) -> bool:
    """Return whether a server takes a notification from a key."""
    url = f"{stack.http_urls[server]}/notify"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json=ROOM, headers={"x-api-key": key}) as response,
    ):
        assert response.status in (202, 401, 503)
        return response.status == 202
