"""Sends notifications."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import aiohttp

from tests.support.processes.stack import Stack
from tests.support.waiting import WAIT_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: status, JSON body, headers."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def id(self) -> str:
        """Id of the one notification that was accepted."""
        assert self.status == 202, f"{self.status}: {self.body}"
        return str(self.body["id"])

    @property
    def ids(self) -> list[str]:
        """Ids of the batch that was accepted."""
        assert self.status == 202, f"{self.status}: {self.body}"
        return [item["id"] for item in self.body]


class Sender:
    """Posts notifications over connections that it keeps; a context manager.

    Args:
        url: of one server (`stack.http_urls[0]`).
        headers: of every request, such as credentials.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = WAIT_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._url = f"{url}/notify"
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout_s = timeout_s

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self._timeout_s),
            connector=aiohttp.TCPConnector(limit=0),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, body: object, **headers: str) -> Answer:
        """POST a body (JSON, or the very bytes); `Idempotency_Key="k"` becomes the header.

        Raises:
            aiohttp.ClientError: the server went away; the outcome is unknown.
        """
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {**self._headers, **more}
        async with self._session.post(self._url, data=data, headers=named) as response:
            return Answer(response.status, await response.json(content_type=None), response.headers)


async def post(stack: Stack, body: object, **headers: str) -> Answer:
    """POST one body to the first server, on a connection of its own."""
    async with Sender(stack.http_urls[0]) as send:
        return await send(body, **headers)
