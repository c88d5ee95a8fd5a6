"""One client fills its share of a lane, and no more: the others go on."""

from pathlib import Path

import aiohttp

from tests.security.limits.limiting import ask
from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, make_client


async def test_a_full_share_is_refused_and_another_client_is_not(tmp_path: Path) -> None:
    with AuthStack(
        tmp_path,
        workers=0,
        history=1,
        AUTH_MODE="required",
        FAILED_ATTEMPTS_PER_MINUTE="0",
        LANE_MAX_JOBS="10",
        LANE_CLIENT_SHARE="0.5",
    ) as stack:
        async with Api(stack) as api, aiohttp.ClientSession() as session:
            shop = await make_client(api, stack, "shop")
            bank = await make_client(api, stack, "bank")
            url = stack.http_urls[0]
            for _ in range(5):
                assert (await ask(session, url, shop))[0] == 202
            status, headers, body = await ask(session, url, shop)
            assert (status, body["code"]) == (503, "client-lane-full")
            assert int(headers["retry-after"]) >= 1
            low = {"type": "room", "userId": 1, "target": 1, "message": "x", "priority": "low"}
            assert (await ask(session, url, shop, low))[0] == 202
            for _ in range(5):
                assert (await ask(session, url, bank))[0] == 202
            status, _, body = await ask(session, url, bank)
            assert (status, body["code"]) == (503, "lane-full")
            stack.start(stack.add("worker"))
            assert stack.is_ready("server-1")
