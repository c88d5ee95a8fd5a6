"""The event stream is shared: a client that fills it is refused while others go on."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp

from tests.security.limits.limiting import ask
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, make_client
from tests.support.processes.stack import KEYS
from tests.support.waiting import until

BOUND = 60
PAUSE_S = 0.1
"""Servers look once a second: the stream is filled more slowly than that."""


def _stack(folder: Path) -> AuthStack:
    # Nobody reads: whatever happens stays in the stream.
    return AuthStack(
        folder,
        database=True,
        AUTH_MODE="required",
        EVENT_READERS="history",
        EVENTS_BOUND=str(BOUND),
        FAILED_ATTEMPTS_PER_MINUTE="0",
    )


async def test_the_client_that_fills_the_stream_is_refused_first(tmp_path: Path) -> None:
    with _stack(tmp_path / "s") as stack:
        async with Api(stack) as api, aiohttp.ClientSession() as session:
            shop = await make_client(api, stack, "shop")
            bank = await make_client(api, stack, "bank")
            url = stack.http_urls[0]

            async def is_refused() -> bool:
                await asyncio.sleep(PAUSE_S)
                status, headers, body = await ask(session, url, shop)
                if status == 202:
                    return False
                assert (status, body["code"]) == (503, "client-events-full")
                assert int(headers["retry-after"]) >= 1
                return True

            await until(is_refused, "the shop is refused")
            async with stack.valkey.client() as redis:
                assert BOUND // 2 <= await redis.xlen(KEYS.events) < BOUND
                for _ in range(5):
                    status, _, body = await ask(session, url, bank)
                    assert status == 202, body
                # Once what it sent has been read it may send again.
                await redis.xgroup_create(KEYS.events, "history", id="$")

                async def is_taken() -> bool:
                    return (await ask(session, url, shop))[0] == 202

                await until(is_taken, "the shop may send again")


async def test_one_client_alone_has_the_whole_stream(tmp_path: Path) -> None:
    with _stack(tmp_path / "s") as stack:
        async with Api(stack) as api, aiohttp.ClientSession() as session:
            shop = await make_client(api, stack, "shop")
            codes: Counter[str] = Counter()

            async def is_full() -> bool:
                await asyncio.sleep(PAUSE_S)
                status, _, body = await ask(session, stack.http_urls[0], shop)
                codes["taken" if status == 202 else body["code"]] += 1
                return status != 202

            await until(is_full, "the stream is full")
            assert set(codes) == {"taken", "events-full"}
            assert codes["taken"] >= BOUND - 10
