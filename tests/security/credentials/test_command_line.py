"""`server/clients/command_line.py`: clients that are made without HTTP."""

import asyncio

import pytest

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, accepts
from tests.support.waiting import until


async def test_a_first_client_is_made_at_the_command_line_and_no_secret_is_asked_for_by_http(
    auth_stack: AuthStack,
) -> None:
    key = auth_stack.run("server", "create-client", "till", "till@example.com")
    await until(lambda: accepts(auth_stack, 0, key))
    ready = auth_stack.get("server-1", "/readyz")[1]
    assert "authMode" not in ready


def test_the_command_line_makes_a_first_key_with_some_scopes(auth_stack: AuthStack) -> None:
    key = auth_stack.run(
        "server", "create-client", "--scopes", "notify,read", "till", "till@example.com"
    )

    async def look() -> None:
        async with Api(auth_stack) as api:
            made = Made("", key)

            async def known() -> bool:
                return (await api("GET", "/notifications", headers=made.bearer)).status == 200

            await until(known)
            assert (await api("GET", "/clients/me/keys", headers=made.bearer)).status == 403

    asyncio.run(look())
    for wrong in (
        ["--scopes", "write"],
        ["--scopes", ""],
        ["--admin", "--scopes", "read"],
    ):
        with pytest.raises(AssertionError, match="usage"):
            auth_stack.run("server", "create-client", *wrong, "till", "till@example.com")
