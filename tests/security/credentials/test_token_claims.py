"""Tokens that say something odd, and clocks that differ, on every way in for a token."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from websockets.asyncio.client import connect

from tests.security.limits.limiting import one_more
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client
from tests.support.processes.process import LOOPBACK
from tests.support.waiting import until

HANDSHAKE = (
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)
CLOCK_S = 20
"""How far the clocks of signer and gateway differ, well within the usual leeway."""


class Signer:
    """A client's own servers, which sign its tokens."""

    def __init__(self, client: Made, secret: str) -> None:
        self.client = client
        self._secret = secret

    def raw(self, claims: str) -> str:
        """A token with these very bytes as its claims."""
        parts = [
            base64.urlsafe_b64encode(part.encode()).rstrip(b"=")
            for part in ('{"alg":"HS256"}', claims)
        ]
        signed = hmac.new(self._secret.encode(), b".".join(parts), hashlib.sha256).digest()
        return b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()

    def token(self, **claims: Any) -> str:
        found = {"iss": self.client.id, "sub": "ann", "exp": int(time.time()) + 600, **claims}
        return jwt.encode(found, self._secret, "HS256")

    def odd(self, name: str, value: str) -> str:
        """A token of which one claim is written like this."""
        good = {"iss": f'"{self.client.id}"', "sub": '"ann"', "exp": str(int(time.time()) + 600)}
        claims = ",".join(f'"{key}":{text}' for key, text in (good | {name: value}).items())
        return self.raw("{" + claims + "}")


@pytest.fixture(scope="session")
def signer(auth_stack: AuthStack) -> Signer:
    async def made() -> Signer:
        async with Api(auth_stack) as api:
            client = await make_client(api, auth_stack, "signer")
            answer = await api(
                "POST",
                "/clients/me/token-secret/rotate",
                json={"overlapS": 0},
                headers=client.bearer,
            )
            found = Signer(client, answer.body["secret"])
            for url in [*auth_stack.http_urls, *auth_stack.ws_urls]:
                port = urlsplit(url).port
                assert port is not None

                async def known(port: int = port) -> bool:
                    way = events if port == urlsplit(auth_stack.ws_urls[0]).port else inbox
                    return "200" in await way(port, found.token())

                await until(known)
            return found

    return asyncio.run(made())


async def head(port: int, text: str) -> str:
    """The whole answer, or what came of it until the server waits for more."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(text.encode())
    found = b""
    try:
        async with asyncio.timeout(10):
            found = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in found[:20] and b" 101 " not in found[:20]:
                found += await reader.read(2_000)
    finally:
        writer.close()
    return found.decode()


async def inbox(port: int, token: str) -> str:
    path = "/users/ann/notifications/unread-count"
    return await head(
        port,
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\n\r\n",
    )


async def notify(port: int, token: str) -> str:
    return await head(
        port,
        "POST /notify HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}",
    )


async def authorization(port: int, token: str) -> str:
    return await head(port, f"{HANDSHAKE}Authorization: Bearer {token}\r\n\r\n")


async def subprotocol(port: int, token: str) -> str:
    return await head(port, f"{HANDSHAKE}Sec-WebSocket-Protocol: roomcast, bearer.{token}\r\n\r\n")


async def events(port: int, token: str) -> str:
    return await head(
        port,
        f"GET /events?userId=ann HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n",
    )


async def first_frame(port: int, token: str) -> str:
    async with connect(f"ws://{LOOPBACK}:{port}/", proxy=None) as socket:
        await socket.send(json.dumps({"userId": "ann", "token": token}))
        async with asyncio.timeout(10):
            return str(await socket.recv())


async def every_answer(stack: AuthStack, signer: Signer, token: str) -> dict[str, str]:
    """What each way in says to a token."""
    server, gateway = stack.ports["server-1"], stack.ports["gateway-1"]
    found = {
        way.__name__: await way(port, token)
        for way, port in (
            (inbox, server),
            (notify, server),
            (authorization, gateway),
            (subprotocol, gateway),
            (events, gateway),
            (first_frame, gateway),
        )
    }
    async with connect(f"ws://{LOOPBACK}:{gateway}/", proxy=None) as socket:
        for message in (
            {"userId": "ann", "token": signer.token()},
            {"action": "refresh", "token": token},
        ):
            await socket.send(json.dumps(message))
            async with asyncio.timeout(10):
                found["refresh"] = str(await socket.recv())
        # The connection goes on, whatever came.
        await socket.send('{"action":"ping"}')
        async with asyncio.timeout(10):
            assert "pong" in str(await socket.recv())
    return found


def is_refused(answers: dict[str, str], reason: str) -> bool:
    return all(
        reason in answer
        and ("unauthorized" if way in ("first_frame", "refresh") else " 401 ") in answer
        for way, answer in answers.items()
    )


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("exp", "1795792782000", "milliseconds"),
        ("exp", "1" + "0" * 300, "past the year 9999"),
        ("exp", "1" + "0" * 400, "past the year 9999"),
        ("exp", "1e400", "past the year 9999"),
        ("exp", "true", "must be a Unix time"),
        ("exp", "null", "missing"),
        ("exp", "1.5", "expired"),
        ("exp", "NaN", "not accepted"),
        ("exp", "1" * 5_000, "not accepted"),
        ("nbf", "1" + "0" * 400, "past the year 9999"),
        ("iat", "1" + "0" * 400, "past the year 9999"),
        ("iat", "true", "must be a Unix time"),
        ("sub", '"\\ud800"', "sub must be"),
        ("sub", "7", "sub must be"),
        ("iss", "[]", "not accepted"),
        ("rooms", '"1"', "rooms must be"),
        ("rooms", "[" * 2_000 + "]" * 2_000, "not accepted"),
    ],
)
async def test_an_odd_claim_is_refused_on_every_way_in(
    auth_stack: AuthStack, signer: Signer, name: str, value: str, reason: str
) -> None:
    answers = await every_answer(auth_stack, signer, signer.odd(name, value))
    assert is_refused(answers, reason), answers


async def test_the_last_second_of_9999_is_a_time_on_every_way_in(
    auth_stack: AuthStack, signer: Signer
) -> None:
    answers = await every_answer(auth_stack, signer, signer.token(exp=253_402_300_799))
    assert json.loads(answers["refresh"]) == {
        "type": "refreshed",
        "expiresAt": "9999-12-31T23:59:59.000Z",
    }
    assert "registered" in answers["first_frame"]
    assert " 200 " in answers["inbox"]
    # A user may not send: this token is not for that, but it is one.
    assert " 403 " in answers["notify"]


async def test_tokens_of_a_server_whose_clock_differs_are_good_and_no_failed_attempts(
    auth_stack: AuthStack, signer: Signer
) -> None:
    async with one_more(
        auth_stack, "gateway", TOKEN_LEEWAY_S="30", FAILED_ATTEMPTS_PER_MINUTE="1"
    ) as name:
        port = auth_stack.ports[name]
        for claim, by in (("iat", CLOCK_S), ("nbf", CLOCK_S), ("exp", -CLOCK_S)):
            text = signer.token(**{claim: time.time() + by})
            assert "registered" in await first_frame(port, text), claim
            assert " 200 " in await events(port, text), claim
        assert "expired" in await first_frame(port, signer.token(exp=time.time() - 40))
        assert " 429 " in await events(port, signer.token())


async def test_a_connection_goes_on_as_long_as_its_token_would_let_in_a_new_one(
    auth_stack: AuthStack, signer: Signer
) -> None:
    ended = signer.token(exp=time.time() - 1)
    async with (
        one_more(auth_stack, "gateway", TOKEN_LEEWAY_S="4") as name,
        connect(f"ws://{LOOPBACK}:{auth_stack.ports[name]}/", proxy=None) as socket,
    ):
        await socket.send(json.dumps({"userId": "ann", "token": ended}))
        assert "registered" in str(await socket.recv())
        async with asyncio.timeout(30):
            await socket.wait_closed()
        assert socket.close_code == 4503
    assert "expired" in await first_frame(auth_stack.ports["gateway-1"], ended)
