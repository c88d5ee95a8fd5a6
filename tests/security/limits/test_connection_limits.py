"""How many connections, rooms and handshakes there may be, and what a client sees of it."""

import asyncio
import json
import math
import re
import signal
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.security.limits.limiting import (
    ROOM,
    heard,
    limit,
    one_more,
    register,
    well_before_midnight,
)
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, token_of
from tests.support.waiting import until


async def test_connections_of_a_client_are_bounded_over_all_gateways(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await limit(api, auth_stack, shop, connections=3)
    async with one_more(auth_stack, "gateway"):
        await fill(api, auth_stack, shop, bank)


async def fill(api: Api, auth_stack: AuthStack, shop: Made, bank: Made) -> None:
    last = len(auth_stack.ws_urls) - 1
    text = await token_of(api, shop)
    sockets = []
    try:
        for _ in range(3):
            socket = await register(auth_stack, 0, text)
            sockets.append(socket)
            assert (await heard(socket))["type"] == "registered"
        for gateway in (0, last):

            async def full(gateway: int = gateway) -> bool:
                socket = await register(auth_stack, gateway, text)
                answer = await heard(socket)
                if answer["type"] == "registered":
                    await socket.close()
                    return False
                assert (answer["type"], answer["code"]) == ("error", "too-many-connections")
                with pytest.raises(ConnectionClosed):
                    await heard(socket)
                assert socket.close_code == 4505
                return True

            # This gateway knows at once, the other one when it was told.
            if gateway == 0:
                assert await full()
            else:
                await until(full)
        async with aiohttp.ClientSession() as session:
            url = auth_stack.ws_urls[0].replace("ws:", "http:") + "events?userId=ann"
            bearer = {"Authorization": f"Bearer {text}"}
            async with session.get(url, headers=bearer) as response:
                assert response.status == 429
                assert int(response.headers["Retry-After"]) > 0
        theirs = await register(auth_stack, 0, await token_of(api, bank))
        sockets.append(theirs)
        assert (await heard(theirs))["type"] == "registered"
        # A seat that is left can be taken.
        await sockets.pop(0).close()

        async def free() -> bool:
            socket = await register(auth_stack, last, text)
            sockets.append(socket)
            return bool((await heard(socket))["type"] == "registered")

        await until(free)
    finally:
        for socket in sockets:
            await socket.close()


async def test_a_client_may_have_more_or_fewer_rooms_per_connection_than_others(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    rooms = [str(number) for number in range(102)]
    await limit(api, auth_stack, shop, roomsPerConnection=101)
    await limit(api, auth_stack, bank, roomsPerConnection=2)
    for client, most in ((shop, 101), (bank, 2)):
        text = await token_of(api, client, rooms=["*"])
        socket = await register(auth_stack, 0, text, room=rooms[: most + 1])
        try:
            assert (await heard(socket))["code"] == "too-many-rooms"
            await socket.send(
                json.dumps({"userId": "ann", "token": text, "room": rooms[: most - 1]})
            )
            assert (await heard(socket))["type"] == "registered"
            await socket.send(json.dumps({"action": "join", "room": rooms[most - 1 : most + 1]}))
            assert (await heard(socket))["code"] == "too-many-rooms"
            await socket.send(json.dumps({"action": "join", "room": rooms[most - 1]}))
            assert (await heard(socket))["type"] == "joined"
        finally:
            await socket.close()


@pytest.mark.parametrize(
    ("setting", "code"),
    [
        ("ADDRESS_CONNECTIONS_PER_S", "address-too-fast"),
        ("HANDSHAKES_PER_S", "too-many-handshakes"),
    ],
)
async def test_handshakes_past_those_of_a_second_are_told_to_come_back(
    auth_stack: AuthStack, setting: str, code: str
) -> None:
    most, asked = 5, 60
    url = ""

    async def one() -> str:
        try:
            async with connect(url, compression=None, proxy=None):
                return ""
        except InvalidStatus as refused:
            response = refused.response
            assert response.status_code == 503
            assert response.headers["Retry-After"] == "1"
            assert response.body is not None
            return str(json.loads(response.body)["code"])

    async with one_more(auth_stack, "gateway", **{setting: str(most)}) as name:
        url = auth_stack.url(name).replace("http", "ws")
        began = time.monotonic()
        answers = await asyncio.gather(*(one() for _ in range(asked)))
        windows = math.floor(time.monotonic() - began) + 1
        assert set(answers) == {"", code}
        assert most <= answers.count("") <= windows * most
        async with aiohttp.ClientSession() as session:
            headers = {"x-api-key": auth_stack.operator}
            async with session.get(f"{auth_stack.url(name)}/metrics", headers=headers) as response:
                text = await response.text()
        found = re.search(rf'roomcast_handshakes_total{{result="{code}"}} (\d+)', text)
        assert found is not None
        assert int(found[1]) == answers.count(code)
        await asyncio.sleep(1)
        assert await one() == ""


async def test_a_client_sees_its_usage_its_connections_and_its_quota(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await limit(api, auth_stack, shop, notificationsPerDay=10)
    text = await token_of(api, shop)
    first, second = [await register(auth_stack, 0, text, room=1) for _ in range(2)]
    await well_before_midnight()
    try:
        for socket in (first, second):
            assert (await heard(socket))["type"] == "registered"
        soon = datetime.now(UTC) + timedelta(seconds=1)
        short = {**ROOM, "expiresAt": soon.isoformat()}
        sent = [ROOM, ROOM, {**ROOM, "target": ["1", "2"]}, short]
        workers = auth_stack.names("worker")
        for name in workers:
            auth_stack.kill(name, signal.SIGSTOP)
        try:
            answer = await api("POST", "/notify", json=sent, headers=shop.bearer)
            assert answer.status == 202
            await until(lambda: datetime.now(UTC) > soon, "it has expired")
        finally:
            for name in workers:
                auth_stack.kill(name, signal.SIGCONT)
        for socket in (first, second):
            for _ in range(3):
                await heard(socket)
        wanted = {"accepted": 4, "published": 4, "delivered": 6, "failed": 1}

        async def shown() -> bool:
            mine = (await api("GET", "/clients/me", headers=shop.bearer)).body
            days = mine["usage"]
            assert len(days) == 30
            assert days[1] == {**days[1], **dict.fromkeys(wanted, 0)}
            today = {name: count for name, count in days[0].items() if name != "day"}
            assert days[0]["day"] == time.strftime("%Y-%m-%d", time.gmtime())
            assert mine["quota"] == {"limit": 10, "left": 6}
            assert all(today[name] <= count for name, count in wanted.items()), today
            return bool(today == wanted and mine["connections"] == 2)

        await until(shown)
        await asyncio.sleep(1.5)
        assert await shown()
        theirs = (await api("GET", "/clients/me", headers=bank.bearer)).body
        assert theirs["connections"] == 0
        assert {*theirs["usage"][0].values()} == {theirs["usage"][0]["day"], 0}
    finally:
        for socket in (first, second):
            await socket.close()
    await until(lambda: gone(api, shop))


async def gone(api: Api, client: Made) -> bool:
    mine = await api("GET", "/clients/me", headers=client.bearer)
    return bool(mine.body["connections"] == 0)
