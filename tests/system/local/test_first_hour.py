"""What a newcomer sees of `make run`: a few lines, calls that work, and parts that come back."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deploy.local.parts import LOOPBACK
from deploy.local.stores.postgres import folder_for
from deploy.processes import PROCESSES
from tests.system.local.stack import PROJECT, LocalStack, free_ports, local_stack, wait_until

OURS = ("history", "bridge", "gateway", "worker", "server")
PARTS = ("valkey", "postgres", "kafka", "history", "bridge", "gateway", "worker", "server")


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    with local_stack(
        tmp_path_factory.mktemp("quiet") / "data", VERBOSE="0", LANE_MAXJOBS="5"
    ) as stack:
        stack.wait_until_ready()
        yield stack


def said_by_screen(stack: LocalStack) -> tuple[list[str], str]:
    before, _, after = stack.said().partition("\nRoomcast is ready.")
    # On a busy machine it says what it still waits for.
    return [line for line in before.splitlines() if not line.startswith("not ready after ")], after


def test_a_start_is_a_few_lines_and_the_logs_are_in_files(quiet: LocalStack) -> None:
    before, screen = said_by_screen(quiet)
    # The environment has this name: said once here, and in the log of each process.
    misspelt = "WARNING the environment sets LANE_MAXJOBS, which is no setting"
    assert before.pop(0).startswith(misspelt)
    for name in OURS:
        assert misspelt in (quiet.data_dir / "logs" / f"{name}.log").read_text()
    assert misspelt not in screen
    # At most one line for each part, as they become ready.
    assert 2 <= len(before) <= 1 + len(PARTS), before
    assert before[0].startswith("starting ")
    named = [name for line in before[1:] for name in line.partition(": ")[2].split(", ")]
    assert sorted(named) == sorted(PARTS)
    assert all(re.match(r"ready after \d+\.\d s: ", line) for line in before[1:])
    logs = quiet.data_dir / "logs"
    assert f"logs        {logs}" in screen
    for name in PARTS:
        assert (logs / f"{name}.log").read_text(), name
    assert "spawned: 'server'" in (logs / "runner.log").read_text()
    assert logs.stat().st_mode & 0o077 == 0


def warnings(stack: LocalStack) -> dict[str, list[str]]:
    """Lines at WARNING or above in the log of each process of ours."""
    return {
        name: [line for line in lines if re.match(r"\S+ \S+ +(WARNING|ERROR|CRITICAL) ", line)]
        for name in OURS
        for lines in [(stack.data_dir / "logs" / f"{name}.log").read_text().splitlines()]
    }


def test_a_healthy_start_warns_of_nothing_and_a_lost_valkey_is_said_once(
    quiet: LocalStack,
) -> None:
    assert not any(warnings(quiet).values()), warnings(quiet)
    assert "ERROR" not in (quiet.data_dir / "logs" / "postgres.log").read_text()
    os.kill(quiet.started_pids()["valkey"], signal.SIGKILL)

    def are_back() -> bool:
        logs = [quiet.data_dir / "logs" / f"{name}.log" for name in ("worker", "gateway")]
        return all("redis answers again" in log.read_text() for log in logs)

    wait_until(are_back, "worker and gateway have it again", 60)
    for port in (process.port.upper() for process in PROCESSES):
        wait_until(lambda port=port: quiet.is_ready(port), f"{port} is ready")  # type: ignore[misc]
    assert all(len(lines) <= 1 for lines in warnings(quiet).values()), warnings(quiet)
    assert "valkey ended (terminated by SIGKILL); it starts again" in quiet.said()
    wait_until(lambda: "valkey runs again" in quiet.said(), "its return is said", 60)
    assert "redis answers again" in quiet.said()


def mirrored(stack: LocalStack) -> float:
    with urllib.request.urlopen(stack.url("KAFKA_BRIDGE_PORT", "/metrics")) as answer:
        text = answer.read().decode()
    return float(re.findall(r"^roomcast_kafka_mirrored_total (\S+)", text, re.MULTILINE)[0])


def test_a_lost_kafka_is_said_in_our_words(quiet: LocalStack) -> None:
    before = warnings(quiet)["bridge"]
    os.kill(quiet.started_pids()["kafka"], signal.SIGKILL)
    wait_until(lambda: "kafka runs again" in quiet.said(), "its return is said", 60)
    wait_until(lambda: quiet.is_ready("KAFKA_BRIDGE_PORT"), "the bridge is ready")
    quiet.notify({"userId": 2, "message": "hello", "type": "broadcast"})
    # A broker that forgot everything is noticed only by what it does not acknowledge.
    wait_until(lambda: mirrored(quiet) > 0, "it is mirrored to again")
    assert "[thrd:" not in quiet.said()
    assert "[thrd:" in (quiet.data_dir / "logs" / "bridge.log").read_text()
    later = warnings(quiet)["bridge"][len(before) :]
    assert all("kafka" in line for line in later), later
    assert len(later) <= 3, later


def test_a_part_that_is_killed_again_and_again_comes_back(quiet: LocalStack) -> None:
    def killed_until_given_up() -> bool:
        with suppress(ProcessLookupError, KeyError):
            os.kill(quiet.started_pids()["worker"], signal.SIGKILL)
        return "worker ended soon after its start 4 times; the next try is in" in quiet.said()

    wait_until(killed_until_given_up, "supervisord gave it up", 90)
    wait_until(lambda: "worker runs again" in quiet.said(), "it was started again", 60)
    wait_until(lambda: quiet.is_ready("WORKER_PORT"), "it works")


def test_a_part_whose_port_is_taken_for_a_while_comes_back(quiet: LocalStack) -> None:
    history = quiet.started_pids()["history"]
    os.kill(history, signal.SIGKILL)
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def taken() -> bool:
        with suppress(OSError):
            taker.bind((LOOPBACK, quiet.ports["HISTORY_PORT"]))
            taker.listen()
            return True
        return False

    wait_until(taken, "the port is taken", 5)
    with taker:
        wait_until(
            lambda: quiet.said().count("history ended soon after its start 4 times") >= 2,
            "it was tried again, and again",
            150,
        )
        said = quiet.said()
        waits = [int(wait) for wait in re.findall(r"history ended soon .*in (\d+) s", said)]
        assert waits[:2] == [2, 4]
        assert "address already in use" in said.lower()
    wait_until(lambda: "history runs again" in quiet.said(), "it was started again", 60)
    wait_until(lambda: quiet.is_ready("HISTORY_PORT"), "it works")


def test_the_end_warns_of_nothing_and_says_where_the_data_is(quiet: LocalStack) -> None:
    before = warnings(quiet)
    for number in range(200):
        quiet.notify({"userId": 2, "message": str(number), "type": "broadcast"})
    quiet.console.send_signal(signal.SIGINT)
    assert quiet.console.wait(60) == 0
    assert warnings(quiet) == before
    last = quiet.said().splitlines()[-1]
    assert f"data is in {quiet.data_dir / 'valkey'} and " in last
    assert str(quiet.data_dir / "logs") in last


def make_client(**environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {n: v for n, v in os.environ.items() if n not in ("NAME", "EMAIL", "ADMIN", "DATA_DIR")}
    return subprocess.run(
        [sys.executable, "-m", "deploy.local.client"],
        cwd=PROJECT,
        env=kept | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_with_required_credentials_every_call_on_the_screen_works(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    with local_stack(data_dir, VERBOSE="0", AUTH_MODE="required", KAFKA_BROKERS="") as stack:
        command = f"DATA_DIR={data_dir} make client ADMIN=1 NAME=operations EMAIL="
        wait_until(lambda: command in stack.said(), "it asks for a first client", 60)
        made = make_client(
            DATA_DIR=str(data_dir), NAME="Bob's; $HOME", EMAIL="you@example.com", ADMIN="1"
        )
        assert made.returncode == 0, made.stderr
        key = made.stdout.strip()
        stack.wait_until_ready()
        _, screen = said_by_screen(stack)
        listen, _, send = screen.partition("and send to that user:")
        listen = (
            listen[listen.index("KEY=") :].replace("rk_…", key).replace("; cat)", "; sleep 20)")
        )
        with subprocess.Popen(
            ["bash", "-c", listen], cwd=PROJECT, stdout=subprocess.PIPE, text=True
        ) as listener:
            assert listener.stdout is not None
            line = ""
            while "registered" not in line:
                line = listener.stdout.readline()
                assert line, "the socket was not let in"
            sent = subprocess.run(
                ["bash", "-c", send.replace("rk_…", key)],
                cwd=PROJECT, capture_output=True, text=True, timeout=30, check=True,
            )  # fmt: skip
            assert '"status":"queued"' in sent.stdout, sent.stdout
            while "Private message for userId 1" not in line:
                line = listener.stdout.readline()
                assert line, "nothing came"
        assert key not in stack.said()
        assert key not in "".join(path.read_text() for path in (data_dir / "logs").iterdir())


def test_make_client_says_in_a_line_what_it_lacks(tmp_path: Path) -> None:
    for environment, expected in (
        ({}, "make client NAME=… EMAIL=…"),
        ({"NAME": "shop", "EMAIL": "a@example.com"}, "no stack runs with DATA_DIR"),
    ):
        done = make_client(DATA_DIR=str(tmp_path), **environment)
        assert done.returncode == 1
        assert expected in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_part_that_fails_at_the_start_shows_the_end_of_its_log(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = {"REDIS_CLIENT": f"redis://{LOOPBACK}:{port}/0", "READER_NICENESS": "0"}
    data_dir = tmp_path / "data"
    folder = folder_for(data_dir / "postgres")
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(tmp_path)
    try:
        with local_stack(data_dir, VERBOSE="0", **environment) as stack:
            assert stack.console.wait(120) == 1
            said = stack.said()
    finally:
        folder.unlink()
    assert "postgres ended soon after its start 4 times and was given up" in said
    assert f"The end of {data_dir / 'logs/postgres.log'}:\n    PostgreSQL's folder" in said
    assert "must not be a link" in said
