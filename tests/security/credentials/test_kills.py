"""What is killed while credentials are required loses and repeats nothing either."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from tests.support.clients.api import Api
from tests.support.credentials import AuthStack, Made, make_client, token_of
from tests.support.waiting import until

EACH = 250
pytestmark = [pytest.mark.chaos, pytest.mark.unmeasured]


async def _send(api: Api, client: Made, room: str, answered: list[str]) -> None:
    for number in range(EACH):
        body = {"type": "room", "userId": 1, "target": room, "message": f"{number}"}
        headers = {**client.bearer, "Idempotency-Key": f"{room}-{number}"}
        while True:
            answer = await api("POST", "/notify", json=body, headers=headers)
            if answer.status == 202:
                answered.append(answer.body["id"])
                break
            assert answer.status in (409, 503), answer
            await asyncio.sleep(0.05)


async def _listen(url: str, token: str, heard: list[str], ready: asyncio.Event) -> None:
    async with connect(url, compression=None, proxy=None, max_queue=None) as socket:
        await socket.send(json.dumps({"userId": "ann", "room": ["a", "b"], "token": token}))
        assert json.loads(await socket.recv())["type"] == "registered"
        ready.set()
        async for text in socket:
            heard.append(json.loads(text)["id"])  # noqa: PERF401 - it grows while others look


async def test_killed_workers_and_a_stalled_redis_with_credentials(tmp_path: Path) -> None:
    """Two clients with rooms of the same names, each heard at both gateways."""
    stack = AuthStack(
        tmp_path / "own", workers=3, gateways=2, history=1, AUTH_MODE="required", LEASE_S="1"
    )
    with stack:
        async with Api(stack) as api, asyncio.TaskGroup() as listeners:
            clients = [await make_client(api, stack, name) for name in ("shop", "bank")]
            heard: dict[tuple[str, str], list[str]] = {}
            listening = []
            for client in clients:
                token = await token_of(api, client, ttl=3_600, rooms=["*"])
                for url in stack.ws_urls:
                    one: list[str] = heard.setdefault((client.id, url), [])
                    ready = asyncio.Event()
                    listening.append(listeners.create_task(_listen(url, token, one, ready)))
                    await ready.wait()
            answered: dict[tuple[str, str], list[str]] = {}
            async with asyncio.TaskGroup() as lines:
                for client in clients:
                    for room in ("a", "b"):
                        ids = answered.setdefault((client.id, room), [])
                        lines.create_task(_send(api, client, room, ids))
                for number in (1, 2, 3):
                    await asyncio.sleep(0.7)
                    await asyncio.to_thread(stack.kill, f"worker-{number}")
                    await asyncio.to_thread(stack.start, f"worker-{number}")
                await asyncio.to_thread(stack.valkey.freeze)
                await asyncio.sleep(2)
                await asyncio.to_thread(stack.valkey.thaw)

            def all_heard() -> bool:
                return all(len(found) >= 2 * EACH for found in heard.values())

            await until(all_heard)
            for (client_id, _), found in heard.items():
                expected = {room: answered[client_id, room] for room in ("a", "b")}
                assert max(Counter(found).values()) == 1
                for ids in expected.values():
                    own = set(ids)
                    assert [an_id for an_id in found if an_id in own] == ids
                assert len(found) == 2 * EACH
            for task in listening:
                task.cancel()
