"""The routes of history as a test calls them."""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from tests.support.processes.stack import Stack
from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: Any
    text: str


class Api:
    """One server; a context manager."""

    def __init__(self, stack: Stack) -> None:
        self.root = stack.http_urls[0]

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def __call__(self, method: str, path: str, **options: Any) -> Answered:
        async with self._session.request(method, self.root + path, **options) as response:
            text = await response.text()
            body = await response.json(content_type=None) if text else None
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.status, headers, body, text)

    async def send(self, kind: str, target: Any = None, **more: Any) -> str:
        body = {"type": kind, "userId": 1, "message": "hi", **more}
        if target is not None:
            body["target"] = target
        answer = await self("POST", "/notify", json=body)
        assert answer.status == 202, answer
        return str(answer.body["id"])

    async def inbox(self, user: str, **query: Any) -> dict[str, Any]:
        answer = await self("GET", f"/users/{quote(user, safe='')}/notifications", params=query)
        assert answer.status == 200, answer
        page: dict[str, Any] = answer.body
        return page

    async def ids(self, user: str, **query: Any) -> list[str]:
        return [item["id"] for item in (await self.inbox(user, **query))["notifications"]]

    async def unread(self, user: str) -> int:
        answer = await self("GET", f"/users/{user}/notifications/unread-count")
        assert answer.status == 200, answer
        return int(answer.body["count"])

    async def read(self, user: str, notification: str) -> int:
        return (await self("POST", f"/users/{user}/notifications/{notification}/read")).status

    async def read_all(self, user: str) -> int:
        answer = await self("POST", f"/users/{user}/notifications/read-all")
        assert answer.status == 200, answer
        return int(answer.body["marked"])

    async def join(self, room: str, user: str) -> None:
        assert (await self("PUT", f"/rooms/{room}/members/{user}")).status == 204

    async def leave(self, room: str, user: str) -> None:
        assert (await self("DELETE", f"/rooms/{room}/members/{user}")).status == 204

    async def story(self, notification: str, **query: Any) -> dict[str, Any]:
        answer = await self("GET", f"/notifications/{notification}", params=query)
        assert answer.status == 200, answer
        story: dict[str, Any] = answer.body
        return story

    async def arrived(self, user: str, *ids: str) -> None:
        """Wait until the inbox begins with these, newest first."""

        async def there() -> bool:
            return (await self.ids(user))[: len(ids)] == list(ids)

        await until(there, f"{ids} arrive in the inbox of {user}")
