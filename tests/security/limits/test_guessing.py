"""Who guesses keys and tokens is not heard for a while."""

import json

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.security.limits.limiting import ask, heard, one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.waiting import until


async def test_who_guesses_is_not_heard_for_a_while(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    wrong = Made("", shop.key[:-1] + ("0" if shop.key[-1] != "0" else "1"))
    async with (
        one_more(auth_stack, "server", FAILED_ATTEMPTS_PER_MINUTE="5") as name,
        aiohttp.ClientSession() as session,
    ):
        url = auth_stack.url(name)

        async def known() -> bool:
            return (await ask(session, url, shop))[0] == 202

        # A server is ready when it knows the clients, so this is no failure.
        await until(known)
        for _ in range(2):
            assert (await ask(session, url, wrong))[0] == 401
        for _ in range(3):
            async with session.get(f"{url}/clients/me") as response:
                assert response.status == 401
        for client in (wrong, shop):
            status, headers, body = await ask(session, url, client)
            assert (status, body["code"]) == (429, "too-many-failures")
            assert 1 <= int(headers["retry-after"]) <= 60
        async with session.get(f"{url}/clients/me", headers=shop.bearer) as response:
            assert response.status == 429
        async with session.get(f"{url}/healthz") as response:
            assert response.status == 200


async def test_who_guesses_tokens_is_not_heard_for_a_while(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    good = await token_of(api, shop)
    wrong = good[:-6] + "AAAAAA"
    shown = {"Authorization": f"Bearer {wrong}"}
    async with one_more(auth_stack, "gateway", FAILED_ATTEMPTS_PER_MINUTE="4") as name:
        url = f"ws://127.0.0.1:{auth_stack.ports[name]}/"
        async with connect(url, compression=None, proxy=None) as socket:
            for _ in range(3):
                await socket.send(json.dumps({"userId": "ann", "token": wrong}))
                answer = await heard(socket)
                assert (answer["code"], "too many" in answer["message"]) == ("unauthorized", False)
            with pytest.raises(InvalidStatus) as failed:
                await connect(url, proxy=None, additional_headers=shown)
            assert failed.value.response.status_code == 401
            # A good one is not looked at either, on an open connection or a new one.
            await socket.send(json.dumps({"userId": "ann", "token": good}))
            answer = await heard(socket)
            assert (answer["code"], "too many" in answer["message"]) == ("unauthorized", True)
        with pytest.raises(InvalidStatus) as turned_away:
            await connect(url, proxy=None)
        response = turned_away.value.response
        assert response.status_code == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert json.loads(response.body)["code"] == "too-many-failures"
