"""Running until stopped, alone and as replicas: real processes and real signals."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
ALONE = """
import asyncio, sys
from common.process.replicas import run_until_stopped

async def duty(name, fails=None):
    try:
        while True:
            await asyncio.sleep(0.02)
            if fails:
                raise fails
            print(name, flush=True)
    finally:
        print(name, "cancelled", flush=True)

async def returns():
    await asyncio.sleep(0)

async def finish():
    print("stopping", flush=True)
    await asyncio.sleep(0.1)
    print("stopped", flush=True)
"""
TINY = """
import asyncio, os, sys
from common.process.replicas import replica_number, run, run_until_stopped

async def duty():
    # Signals are taken by now.
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    print("began", replica_number(), os.getpid(), folder, flush=True)
    await asyncio.Event().wait()

async def work():
    async def finish():
        print("ended", replica_number(), flush=True)
    await run_until_stopped(duty(), at_stop=finish)

run("tiny", int(os.environ["PROCESSES"]), work)
"""
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program; what is left of it at the end is killed."""
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "__main__.py").write_text(TINY)
    (tmp_path / "tmp").mkdir()
    started = []

    def begin(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
                "TMPDIR": str(tmp_path / "tmp"),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


def line(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    return process.stdout.readline().split()


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie, whose parent is a process that doesn't wait for it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while not is_gone(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_duties_go_on_while_it_stops_and_are_cancelled_then(
    start: Start, number: signal.Signals
) -> None:
    run = "asyncio.run(run_until_stopped(duty('a'), duty('b'), at_stop=finish))"
    process = start("-c", ALONE + run)
    assert line(process) == ["a"]
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (0, "")
    lines = out.splitlines()
    while_stopping = lines[lines.index("stopping") : lines.index("stopped")]
    assert {"a", "b"} <= set(while_stopping)
    assert {"a cancelled", "b cancelled"} <= set(lines[lines.index("stopped") :])


@pytest.mark.parametrize(
    ("duty", "error"),
    [("duty('b', OSError('no port'))", "OSError: no port"), ("returns()", "RuntimeError: ")],
)
def test_a_duty_that_ends_ends_the_process_with_its_error(
    start: Start, duty: str, error: str
) -> None:
    process = start(
        "-c", f"{ALONE}asyncio.run(run_until_stopped(duty('a'), {duty}, at_stop=finish))"
    )
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert err.splitlines()[-1].startswith(error)
    assert "a cancelled" in out
    assert "stopping" not in out


def test_one_process_is_no_replica(start: Start) -> None:
    process = start("-m", "tiny", PROCESSES="1")
    assert line(process) == ["began", "None", str(process.pid), "None"]
    process.terminate()
    assert process.wait(20) == 0


def test_a_replica_that_dies_is_replaced_and_a_stop_reaches_all(
    start: Start, tmp_path: Path
) -> None:
    process = start("-m", "tiny", PROCESSES="2")
    begun = {
        number: (int(pid), folder) for _, number, pid, folder in (line(process), line(process))
    }
    assert begun.keys() == {"1", "2"}
    folder = Path(begun["1"][1])
    assert folder == Path(begun["2"][1])
    assert folder.parent == tmp_path / "tmp"
    os.kill(begun["1"][0], signal.SIGKILL)
    _, number, pid, _ = line(process)
    assert number == "1"
    assert int(pid) != begun["1"][0]
    process.terminate()
    out, _ = process.communicate(timeout=20)
    assert sorted(out.splitlines()) == ["ended 1", "ended 2"]
    assert process.returncode == 0
    assert not folder.exists()
    assert all(is_gone(one) for one in (int(pid), begun["2"][0]))


def test_a_replica_ends_with_its_parent(start: Start) -> None:
    process = start("-m", "tiny", PROCESSES="2")
    pids = [int(line(process)[2]) for _ in range(2)]
    process.kill()
    for pid in pids:
        wait_until_gone(pid)
    assert sorted((line(process), line(process))) == [["ended", "1"], ["ended", "2"]]
