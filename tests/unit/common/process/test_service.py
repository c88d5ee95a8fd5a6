"""The life of a process: a real one, and real signals."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.process import service
from common.process.service import keep_probing
from common.telemetry import outage
from common.telemetry.readiness import Readiness

ROOT = Path(__file__).parents[4]
PROGRAM = """
import asyncio, logging
from common.config.settings import Settings
from common.errors import CannotRunError
from common.process.service import run_service, serve_until_stopped, start_logs
from common.telemetry.readiness import Readiness

log = logging.getLogger("roomcast.tiny")

def say(*words):
    print(*words, flush=True)

async def serve(duty=None, close=None):
    connected = asyncio.Event()

    async def probe():
        return None

    async def works():
        try:
            connected.set()
            await asyncio.sleep(0.05)
            say("works")
            await asyncio.Event().wait()
        finally:
            say("duty ends")

    async def at_stop():
        say("stops, status", readiness.status()[1]["status"])

    async def breaks():
        raise KeyError("close")

    async def closes():
        say("closes")

    readiness = Readiness(probe)
    await serve_until_stopped(
        duty() if duty else works(),
        readiness=readiness,
        connected=[connected],
        at_stop=at_stop,
        at_end=[close or closes, closes],
        log=log,
    )

async def returns():
    return

async def fails():
    raise KeyError("a mistake")

async def breaks():
    raise KeyError("close")

async def cannot():
    raise CannotRunError("no such thing here")

async def no_port():
    raise OSError("the port is taken")

start_logs(Settings(log_format="console"), "tiny")
"""
Run = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def run() -> Iterator[Run]:
    """Start a program that runs a service; what is left of it at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(serve: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", f"{PROGRAM}run_service('tiny', 1, {serve}, log)"],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def lines_until(process: "subprocess.Popen[str]", last: str) -> list[str]:
    assert process.stdout is not None
    found: list[str] = []
    while not found or last not in found[-1]:
        line = process.stdout.readline()
        assert line, found
        found.append(line.strip())
    return found


def test_a_stop_drains_then_ends_duties_then_closes_in_order(run: Run) -> None:
    process = run("serve")
    assert any(" INFO " in line and "ready" in line for line in lines_until(process, "works"))
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    *said, last = out.splitlines()
    assert said == ["stops, status draining", "duty ends", "closes", "closes"]
    assert last.endswith("stopped")
    assert (process.returncode, err) == (0, "")


@pytest.mark.parametrize(
    ("duty", "error"), [("returns", "RuntimeError: "), ("fails", "KeyError: 'a mistake'")]
)
def test_no_duty_dies_unseen(run: Run, duty: str, error: str) -> None:
    process = run(f"lambda: serve({duty})")
    out, err = process.communicate(timeout=20)
    assert err.splitlines()[-1].startswith(error)
    assert process.returncode == 1
    assert "stops" not in out
    assert out.splitlines()[-3:-1] == ["closes", "closes"]


def test_what_fails_to_close_keeps_nothing_else_open(run: Run) -> None:
    process = run("lambda: serve(close=breaks)")
    lines_until(process, "works")
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert "closes" in out.splitlines()
    assert err.splitlines()[-1] == "KeyError: 'close'"


@pytest.mark.parametrize(
    ("serve", "reason"), [("cannot", "no such thing here"), ("no_port", "the port is taken")]
)
def test_a_process_that_cannot_run_says_why_in_one_line(run: Run, serve: str, reason: str) -> None:
    process = run(serve)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "CRITICAL" in out
    assert f"reason={reason}" in out
    assert err == ""


class Probe:
    """Counts how often it was asked."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> str | None:
        self.count += 1
        return None


async def test_it_probes_once_all_of_the_process_is_connected_and_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PROBE_INTERVAL_S", 0.01)
    probe, connected = Probe(), [asyncio.Event(), asyncio.Event()]
    running = asyncio.create_task(keep_probing(Readiness(probe), connected))
    for event in connected:
        await asyncio.sleep(0.05)
        assert probe.count == 0
        event.set()
    async with asyncio.timeout(10):
        while probe.count < 3:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_a_process_that_never_connects_is_probed_after_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PROBE_TIMEOUT_S", 0.05)
    probe = Probe()
    running = asyncio.create_task(keep_probing(Readiness(probe), [asyncio.Event()]))
    async with asyncio.timeout(10):
        while not probe.count:
            await asyncio.sleep(0.01)
    running.cancel()


async def test_a_process_that_starts_is_probed_more_often_until_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PROBE_INTERVAL_S", 60)
    count, reason = 0, "starting"

    async def probe() -> str | None:
        nonlocal count
        count += 1
        return reason or None

    readiness = Readiness(probe)
    running = asyncio.create_task(keep_probing(readiness, []))
    async with asyncio.timeout(10):
        while count < 3:
            await asyncio.sleep(0.01)
        reason = ""
        while not readiness.status()[0]:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    seen = count
    await asyncio.sleep(0.3)
    assert count == seen
    running.cancel()


async def test_a_process_that_does_not_get_ready_is_soon_probed_as_usual(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "PROBE_INTERVAL_S", 60)
    monkeypatch.setattr(outage, "START_S", 0)
    count = 0

    async def probe() -> str | None:
        nonlocal count
        count += 1
        return "away"

    running = asyncio.create_task(keep_probing(Readiness(probe), []))
    async with asyncio.timeout(10):
        while not count:
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert count == 1
    running.cancel()
