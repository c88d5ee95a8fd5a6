"""What one client may do at most, and that another one does not feel it."""

import asyncio
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.credentials import AuthStack, Made, token_of
from tests.inbox.api import Api
from tests.process import ROOT
from tests.waiting import until

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


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_quota_is_spent_to_the_end_over_two_servers_and_not_beyond(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made, chunked: bool
) -> None:
    quota, sent = (200, 300) if chunked else (7, 30)
    # So many requests that the headers tell of the quota, of which less is left.
    await limit(api, auth_stack, shop, notificationsPerDay=quota, requestsPerS=1_000_000)
    await well_before_midnight()
    async with aiohttp.ClientSession() as session:
        urls = auth_stack.http_urls[:2]
        answers = await asyncio.gather(*(ask(session, urls[n % 2], shop) for n in range(sent)))
        accepted = [one for one in answers if one[0] == 202]
        # What one server has at hand and the other one lacks is a chunk at most.
        spare = quota // 20 if chunked else 0
        assert quota - spare <= len(accepted) <= quota
        for status, headers, body in answers:
            assert headers["ratelimit-limit"] == str(quota)
            if status == 202:
                assert 0 <= int(headers["ratelimit-remaining"]) < quota
                continue
            assert (status, body["code"]) == (429, "quota-exceeded")
            assert headers["ratelimit-remaining"] == "0"
            assert headers["content-type"] == "application/problem+json"
            to_midnight = 86_400 - time.time() % 86_400
            assert abs(int(headers["retry-after"]) - to_midnight) < 60
            assert headers["ratelimit-reset"] == headers["retry-after"]
        # Another client has its own.
        assert (await ask(session, urls[0], bank))[0] == 202


async def test_a_batch_counts_as_its_notifications_and_is_refused_as_a_whole(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    await limit(api, auth_stack, shop, notificationsPerDay=10)
    url = auth_stack.http_urls[0]
    await well_before_midnight()
    async with aiohttp.ClientSession() as session:
        for count, status, left in (
            (6, 202, "4"),
            (5, 429, "4"),
            (11, 429, "4"),
            (4, 202, "0"),
        ):
            answer = await ask(session, url, shop, [ROOM] * count)
            assert (answer[0], answer[1]["ratelimit-remaining"]) == (status, left), count


async def test_what_is_not_queued_is_not_counted(
    api: Api, auth_stack: AuthStack, shop: Made
) -> None:
    await limit(api, auth_stack, shop, notificationsPerDay=3)
    await well_before_midnight()
    for body, status in ((ROOM, 202), (ROOM, 202), ({**ROOM, "target": "2"}, 422)):
        headers = {**shop.bearer, "Idempotency-Key": "k"}
        answer = await api("POST", "/notify", json=body, headers=headers)
        assert answer.status == status
    for status in (202, 202, 429):
        assert (await api("POST", "/notify", json=ROOM, headers=shop.bearer)).status == status


@pytest.mark.parametrize("path", ["/notify", "/clients/me"])
async def test_requests_per_second_are_bounded_on_every_way_in(
    api: Api, auth_stack: AuthStack, shop: Made, path: str
) -> None:
    most = 5
    await limit(api, auth_stack, shop, requestsPerS=most)
    method, body = ("POST", ROOM) if path == "/notify" else ("GET", None)

    async def one(session: aiohttp.ClientSession, url: str) -> tuple[int, dict[str, str], str]:
        async with session.request(
            method, f"{url}{path}", json=body, headers=shop.bearer
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return response.status, headers, await response.text()

    async with aiohttp.ClientSession() as session:
        began = time.time()
        answers = await asyncio.gather(
            *(one(session, auth_stack.http_urls[n % 2]) for n in range(100))
        )
        windows = math.floor(time.time()) - math.floor(began) + 1
        statuses = [status for status, _, _ in answers]
        assert set(statuses) == {200 if method == "GET" else 202, 429}
        assert most <= 100 - statuses.count(429) <= windows * most
        for status, headers, text in answers:
            if status == 429:
                assert json.loads(text)["code"] == "rate-limited"
                assert headers["ratelimit-limit"] == str(most)
                assert (headers["ratelimit-remaining"], headers["retry-after"]) == ("0", "1")
        await asyncio.sleep(1)
        assert (await one(session, auth_stack.http_urls[0]))[0] in (200, 202)


async def test_recipients_and_message_size_are_bounded(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    await limit(api, auth_stack, shop, recipients=3, messageMaxBytes=10)
    pair = {**ROOM, "target": ["1", "2"]}
    for body, pointer in (
        ({**ROOM, "target": ["1", "2", "3"]}, None),
        ({**ROOM, "target": ["1", "2", "3", "4"]}, "/target"),
        ([ROOM, pair], None),
        ([pair, pair], "/1/target"),
        ({**ROOM, "message": "é" * 5}, None),
        ({**ROOM, "message": "é" * 5 + "x"}, "/message"),
        ([ROOM, {**ROOM, "data": {"a": "long"}}], "/1/data"),
    ):
        answer = await api("POST", "/notify", json=body, headers=shop.bearer)
        if pointer is None:
            assert answer.status == 202, body
        else:
            assert answer.status == 422, body
            assert [error["pointer"] for error in answer.body["errors"]] == [pointer]
        assert (await api("POST", "/notify", json=body, headers=bank.bearer)).status == 202


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


async def register(stack: AuthStack, gateway: int, token: str, **body: Any) -> ClientConnection:
    socket = await connect(stack.ws_urls[gateway], compression=None, proxy=None)
    await socket.send(json.dumps({"userId": "ann", "token": token, **body}))
    return socket


async def heard(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(10):
        found: dict[str, Any] = json.loads(await socket.recv())
    return found


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
        past = {**ROOM, "expiresAt": "2020-01-01T00:00:00Z"}
        sent = [ROOM, ROOM, {**ROOM, "target": ["1", "2"]}, past]
        answer = await api("POST", "/notify", json=sent, headers=shop.bearer)
        assert answer.status == 202
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


async def latencies(
    session: aiohttp.ClientSession, url: str, client: Made, socket: ClientConnection, seconds: float
) -> list[float]:
    """Seconds from POST to socket, of one notification after another."""
    found = []
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        began = time.perf_counter()
        posting = asyncio.ensure_future(ask(session, url, client))
        frame = await heard(socket)
        found.append(time.perf_counter() - began)
        status, _, body = await posting
        assert (status, body["id"]) == (202, frame["id"])
        await asyncio.sleep(0.01)
    return found


async def test_one_noisy_client_does_not_delay_another(
    api: Api, auth_stack: AuthStack, shop: Made, bank: Made
) -> None:
    most, rate, seconds, pairs = 50, 600, 1.5, 4
    await limit(api, auth_stack, shop, requestsPerS=most)
    url, port = auth_stack.http_urls[0], auth_stack.ports["server-1"]
    socket = await register(auth_stack, 0, await token_of(api, bank), room=1)
    alone: list[float] = []
    beside: list[float] = []
    answered: Counter[str] = Counter()
    try:
        assert (await heard(socket))["type"] == "registered"
        async with aiohttp.ClientSession() as session:
            await latencies(session, url, bank, socket, 0.5)
            for _ in range(pairs):
                alone += await latencies(session, url, bank, socket, seconds)
                flood = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.auth.flood",
                    str(port), shop.key, str(rate), str(seconds + 0.5),
                    stdout=asyncio.subprocess.PIPE, cwd=ROOT,
                )  # fmt: skip
                try:
                    # By then it has started.
                    await asyncio.sleep(0.4)
                    beside += await latencies(session, url, bank, socket, seconds)
                    async with asyncio.timeout(30):
                        out, _ = await flood.communicate()
                finally:
                    if flood.returncode is None:
                        flood.kill()
                        await flood.wait()
                answered.update(json.loads(out))
    finally:
        await socket.close()
    assert set(answered) == {"202", "429"}
    assert answered["202"] <= pairs * most * (seconds + 0.5 + 2)
    assert answered["429"] > answered["202"]
    for name, share in (("median", 0.5), ("p90", 0.9)):
        before, with_flood = (sorted(some)[int(len(some) * share)] for some in (alone, beside))
        ratio = with_flood / before
        print(
            f"{name}: {before * 1000:.2f} ms alone, {with_flood * 1000:.2f} ms beside the flood, "
            f"ratio {ratio:.2f} ({len(alone)} and {len(beside)} notifications, {dict(answered)})"
        )
        assert ratio <= 3, name
