"""A request without credentials is told how to send them, the same on every way in."""

from typing import Any

import aiohttp
import pytest

from common.auth.authenticator import MISSING
from tests.support.credentials import AuthStack

BODY = {"json": {"userId": 1, "type": "broadcast", "message": "hi"}}


@pytest.mark.parametrize(
    ("method", "path", "options"),
    [
        ("POST", "notify", BODY),
        # The short way in leaves this to aiohttp.
        ("POST", "notify", BODY | {"headers": {"Origin": "https://a.example"}}),
        ("GET", "notifications", {}),
        ("GET", "users/1/notifications", {}),
        ("GET", "clients/me", {}),
        ("GET", "metrics", {}),
    ],
)
async def test_at_the_server(
    auth_stack: AuthStack, method: str, path: str, options: dict[str, Any]
) -> None:
    await check(method, f"{auth_stack.http_urls[0]}/{path}", options)


async def test_at_the_gateway(auth_stack: AuthStack) -> None:
    await check("GET", auth_stack.ws_urls[0].replace("ws:", "http:") + "metrics", {})


async def check(method: str, url: str, options: dict[str, Any]) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, **options) as answer,
    ):
        assert answer.status == 401
        assert (await answer.json(content_type=None))["detail"] == MISSING
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "`x-api-key: rk_...`" in MISSING
    assert "`Authorization: Bearer ...`" in MISSING
