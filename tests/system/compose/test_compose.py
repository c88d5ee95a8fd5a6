"""The compose stacks, really built and started. `make compose-test` runs it."""

import asyncio
import json
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from common.config.version import VERSION
from deploy.processes import FOLDERS
from roomcast.command import COMMANDS
from tests.system.compose.engine import ROOT, provide_base_images, start_engine
from tests.system.compose.stack import SERVICES, Stack

pytestmark = pytest.mark.compose

THREE_BODIES: list[dict[str, Any]] = [
    {
        "userId": 2,
        "message": "Private message for userId 1",
        "email": "abc@gmail.com",
        "target": 1,
        "type": "private",
    },
    {
        "userId": 1,
        "message": "broadcast message for roomId 1",
        "email": "abc@gmail.com",
        "target": 1,
        "type": "room",
    },
    {
        "userId": 1,
        "message": "broadcast message for all",
        "email": "abc@gmail.com",
        "type": "broadcast",
    },
]
# What a build and the two compose files need of the tree.
TREE = [
    ".dockerignore",
    ".env",
    "LICENSE",
    "compose.override.yaml",
    "compose.yaml",
    "deploy",
    "requirements",
    "roomcast",
    *FOLDERS,
]
ARRIVES_WITHIN_S = 15
# All processes start at once, and compile what they import.
RELOADED_WITHIN_S = 60
SENT_THROUGH_A_DEATH = 60


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    engine = start_engine()
    try:
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def stand_ins(client: Any) -> list[str]:
    return provide_base_images(client)


def _started(stack: Stack, *, first_client: bool = False) -> Iterator[Stack]:
    try:
        stack.up(first_client=first_client)
        yield stack
    finally:
        stack.down()


@pytest.fixture(scope="module")
def production(client: Any, stand_ins: list[str]) -> Iterator[Stack]:
    files = ["compose.yaml", *stand_ins]
    yield from _started(Stack(client, ROOT, files), first_client=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources, which a test may edit."""
    folder = tmp_path_factory.mktemp("tree")
    for name in TREE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


@pytest.fixture(scope="module")
def development(client: Any, stand_ins: list[str], tree: Path) -> Iterator[Stack]:
    files = ["compose.yaml", "compose.override.yaml", *stand_ins]
    yield from _started(Stack(client, tree, files))


@asynccontextmanager
async def registered(stack: Stack, user: int, room: int) -> AsyncIterator[ClientConnection]:
    async with connect(stack.ws_url, proxy=None) as socket:
        token = await asyncio.to_thread(stack.token, user, room)
        shown = {"token": token} if token else {}
        await socket.send(json.dumps({"userId": user, "room": room, **shown}))
        answer = json.loads(await asyncio.wait_for(socket.recv(), ARRIVES_WITHIN_S))
        assert answer["type"] == "registered"
        yield socket


@asynccontextmanager
async def on_two_gateways(stack: Stack) -> AsyncIterator[list[ClientConnection]]:
    """Two sockets of user 1 in room 1, each at another gateway."""
    deadline = time.monotonic() + 2 * ARRIVES_WITHIN_S
    while True:
        await _registered_in_all(stack, 0)
        async with AsyncExitStack() as sockets:
            pair = [await sockets.enter_async_context(registered(stack, 1, 1)) for _ in range(2)]
            found = await _registered_in_all(stack, 2)
            if found == [1, 1]:
                yield pair
                return
        # HAProxy takes a moment to see that a gateway is back.
        assert time.monotonic() < deadline, f"registered sockets at the gateways: {found}"


async def _registered_in_all(stack: Stack, wanted: int) -> list[int | None]:
    # A gateway brings its gauges up to date about once a second.
    deadline = time.monotonic() + ARRIVES_WITHIN_S
    while True:
        found = await asyncio.to_thread(stack.registered)
        if None not in found and sum(number or 0 for number in found) == wanted:
            return found
        assert time.monotonic() < deadline, f"registered sockets at the gateways: {found}"
        await asyncio.sleep(0.2)


async def received(socket: ClientConnection, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(ARRIVES_WITHIN_S):
        return [json.loads(await socket.recv()) for _ in range(number)]


async def send_through(stack: Stack, sockets: list[ClientConnection], kill: Any) -> None:
    """Send to the room while something dies; all of it arrives at every socket, once, in order."""
    sent = []
    for number in range(SENT_THROUGH_A_DEATH):
        if number == SENT_THROUGH_A_DEATH // 3:
            death = asyncio.create_task(asyncio.to_thread(kill))
        body = {"userId": 1, "type": "room", "target": 1, "message": str(number)}
        sent.append(await asyncio.to_thread(stack.notify, body))
        await asyncio.sleep(0.02)
    await death
    for socket in sockets:
        arrived = await received(socket, len(sent))
        assert [item["id"] for item in arrived] == sent
        offsets = [item["offset"] for item in arrived]
        assert offsets == list(range(offsets[0], offsets[0] + len(sent)))


def test_production_containers_are_confined(production: Stack) -> None:
    for container in production.containers():
        limits = container.attrs["HostConfig"]
        # Apache Kafka's image writes its configuration where it was unpacked.
        confined = "_kafka_" not in container.name
        assert limits["ReadonlyRootfs"] == confined, container.name
        assert limits["Memory"] > 0, container.name
        assert limits["NanoCpus"] > 0, container.name
        assert limits["RestartPolicy"]["Name"] == "unless-stopped", container.name
        assert {mount["Type"] for mount in container.attrs["Mounts"]} <= {"volume"}, container.name
        assert container.exec_run("id -u").output.strip() != b"0", container.name
        if confined:
            assert container.exec_run("touch /probe").exit_code != 0, container.name


async def test_production_lets_nobody_in_without_a_key_or_a_token(production: Stack) -> None:
    assert production.status(THREE_BODIES[2]) == 401
    async with connect(production.ws_url, proxy=None) as socket:
        await socket.send(json.dumps({"userId": 1}))
        with pytest.raises(ConnectionClosed) as closed:
            await received(socket, 2)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4501


def test_every_image_says_what_it_is_and_where_it_listens(production: Stack) -> None:
    for service, ports in (("server", range(8080, 8085)), ("haproxy", [8081])):
        config = production.containers(service)[0].image.attrs["Config"]
        assert set(config["ExposedPorts"]) == {f"{port}/tcp" for port in ports}
        labels = config["Labels"]
        assert labels["org.opencontainers.image.licenses"] == "MIT"
        assert labels["org.opencontainers.image.title"].startswith("Roomcast")
        if service == "server":
            assert labels["org.opencontainers.image.version"] == VERSION


def test_every_command_works_in_the_image(production: Stack) -> None:
    container = production.containers("server")[0]

    def run(*command: str) -> tuple[int, str]:
        status, output = container.exec_run(["python", "-m", "roomcast", *command])
        return status, output.decode()

    assert run("--version") == (0, f"roomcast {VERSION}\n")
    for command in COMMANDS:
        assert run(command.name, "--help")[0] == 0, command.name
    assert run("migrate") == (0, "the database has this version's tables\n")
    assert run("dead-letters", "list") == (0, "")
    assert container.exec_run(["test", "-s", "/app/LICENSE"]).exit_code == 0


def test_every_process_has_its_metrics_on_a_read_only_root(production: Stack) -> None:
    ports = {
        "server": production.port,
        "worker": 8082,
        "gateway": production.ws_port,
        "history": 8083,
        "bridge": 8084,
    }
    for service, port in ports.items():
        for container in production.containers(service):
            text = production.get(container, port, "/metrics")
            (build,) = re.findall(r"^roomcast_build_info\{(.*)\} 1\.0$", text, re.MULTILINE)
            assert f'version="{VERSION}"' in build, container.name


async def test_three_bodies_arrive_through_two_gateways(production: Stack) -> None:
    async with on_two_gateways(production) as sockets:
        ids = [production.notify(body) for body in THREE_BODIES]
        for socket in sockets:
            # They are in three channels, and order is kept within one.
            arrived = {item["id"]: item for item in await received(socket, 3)}
            assert set(arrived) == set(ids)
            for notification_id, body in zip(ids, THREE_BODIES, strict=True):
                assert arrived[notification_id]["type"] == body["type"]
                assert arrived[notification_id]["message"] == body["message"]
                assert arrived[notification_id]["userId"] == str(body["userId"])


async def test_worker_that_crashes_loses_nothing_and_comes_back(production: Stack) -> None:
    crashing = production.containers("worker")[0]
    async with on_two_gateways(production) as sockets:
        await send_through(production, sockets, lambda: production.crash(crashing))
    production.wait_healthy()
    crashing.reload()
    assert crashing.attrs["RestartCount"] >= 1


async def test_worker_container_that_is_killed_leaves_its_work_to_the_other(
    production: Stack,
) -> None:
    # Docker doesn't bring back what it was told to kill, so the other one goes on alone.
    killed = production.containers("worker")[1]
    async with on_two_gateways(production) as sockets:
        await send_through(production, sockets, killed.kill)
        killed.reload()
        assert killed.status == "exited"
    killed.start()
    production.wait_healthy()


async def test_gateway_that_is_stopped_sends_its_clients_to_the_other(production: Stack) -> None:
    leaving = production.containers("gateway")[0]
    async with on_two_gateways(production) as sockets:
        await asyncio.to_thread(leaving.stop)
        leaving.reload()
        assert leaving.attrs["State"]["ExitCode"] == 0
        async with registered(production, 1, 1) as third:
            sent = production.notify(THREE_BODIES[1])
            assert (await received(third, 1))[0]["id"] == sent
            codes = []
            for socket in sockets:
                try:
                    assert (await received(socket, 1))[0]["id"] == sent
                except ConnectionClosed as closed:
                    codes.append(closed.rcvd.code if closed.rcvd else None)
            assert codes == [1012]
    leaving.start()
    production.wait_healthy()


def test_stopped_processes_end_cleanly(production: Stack) -> None:
    for service in ("server", "worker", "gateway"):
        for container in production.containers(service):
            container.stop()
            container.reload()
            assert container.attrs["State"]["ExitCode"] == 0, container.name


async def test_saved_source_is_reloaded_by_every_process(development: Stack, tree: Path) -> None:
    assert len(development.containers()) == sum(SERVICES.values())
    source = tree / "common/web/ops_routes.py"
    before, after = '"alive"', '"alive and reloaded"'
    text = source.read_text()
    assert text.count(before) == 1
    assert not any(after in answer for answer in development.healthz())

    source.write_text(text.replace(before, after))

    deadline = time.monotonic() + RELOADED_WITHIN_S
    while not all(after in answer for answer in await asyncio.to_thread(development.healthz)):
        assert time.monotonic() < deadline, development.logs()
        await asyncio.sleep(0.2)
    await asyncio.to_thread(development.wait_healthy)
    async with on_two_gateways(development) as pair:
        ids = {development.notify(body) for body in THREE_BODIES}
        for socket in pair:
            assert {item["id"] for item in await received(socket, 3)} == ids
