"""Several processes on one port: summed, replaced when one dies, ended together."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from tests.conftest import MakeStack
from tests.support.clients.sender import Sender
from tests.support.clients.socket_client import Client
from tests.support.processes.stack import Stack
from tests.support.waiting import until

SETTINGS = {"SERVER_PROCESSES": "2", "WORKER_PROCESSES": "2", "GATEWAY_PROCESSES": "2"}
PARTS = ("server-1", "worker-1", "gateway-1")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scaling")


async def say(stack: Stack, count: int) -> list[str]:
    """Send with a connection each, so that all replicas get some."""
    ids = []
    for _ in range(count):
        async with Sender(stack.http_urls[0]) as send:
            body = {"type": "room", "userId": 1, "target": "r", "message": "hi"}
            ids.append((await send(body)).id)
    return ids


def gateway_of(client: Client) -> str:
    """The first part of its connection's id."""
    return str(client.registered["connectionId"]).partition("-")[0]


async def both_listen(stack: Stack) -> bool:
    """Whether connections reach both gateways by now: a stack is ready when one of them is."""
    found = set()
    for _ in range(16):
        async with Client(stack.ws_urls[0]) as probe:
            found.add(gateway_of(probe))
    return len(found) == 2


async def test_replicas_share_a_port_are_summed_and_replaced(make_stack: MakeStack) -> None:
    stack = make_stack(**SETTINGS)
    for name in PARTS:
        assert len(stack.processes[name].children) == 2
    await until(lambda: both_listen(stack), "the kernel gives connections to both")
    clients = [Client(stack.ws_urls[0], user=n, room="r") for n in range(24)]
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client.__aenter__())
    try:
        assert len(set(map(gateway_of, clients))) == 2
        sent = await say(stack, 40)
        await until(lambda: all(len(client.ids) == 40 for client in clients))
        assert all(client.ids == sent for client in clients)

        async def summed() -> bool:
            return (
                stack.metric("gateway-1", "roomcast_registered_connections") == 24
                and stack.metric("gateway-1", "roomcast_deliveries_total") == 40 * 24
                and stack.metric("server-1", "roomcast_notify_requests_total", status="202") == 40
                and stack.metric("worker-1", "roomcast_publications_total") == 40
            )

        # Whichever replica is asked, it answers for both.
        for _ in range(6):
            await until(summed)

        for name in PARTS:
            before = stack.processes[name].children
            os.kill(before[0], signal.SIGKILL)
            await until(
                lambda name=name, before=before: (  # type: ignore[misc]
                    len(now := stack.processes[name].children) == 2 and before[0] not in now
                ),
                f"{name} replaces its replica",
            )
            assert before[1] in stack.processes[name].children
            await asyncio.to_thread(stack.wait_ready, name)
        alive = [client for client in clients if client.closed_at is None]
        assert alive, "both gateways died"
        more = await say(stack, 20)
        await until(lambda: all(client.ids[40:] == more for client in alive))
        # What a replica had counted stays; what it held is gone.
        assert stack.metric("server-1", "roomcast_notify_requests_total", status="202") == 60
        await until(
            lambda: stack.metric("gateway-1", "roomcast_registered_connections") == len(alive)
        )
    finally:
        for client in clients:
            await client.close()
    children = [pid for name in PARTS for pid in stack.processes[name].children]
    for name in PARTS:
        stack.kill(name, signal.SIGTERM)
    for name in PARTS:
        assert await asyncio.to_thread(stack.processes[name].wait) == 0
    assert not [pid for pid in children if is_running(pid)]


async def test_replicas_end_when_their_parent_is_killed(make_stack: MakeStack) -> None:
    stack = make_stack(**SETTINGS)
    children = [pid for name in PARTS for pid in stack.processes[name].children]
    assert len(children) == 6
    for name in PARTS:
        stack.kill(name, signal.SIGKILL)
    await until(lambda: not any(map(is_running, children)), "all replicas end")
    # Their ports are free for the next start.
    for name in PARTS:
        await asyncio.to_thread(stack.start, name)
