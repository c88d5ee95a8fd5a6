"""Metrics of one process, and their sums over replicas: real processes that share a folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.config.version import VERSION
from common.telemetry.metrics import exposition, forget_replica, is_summed

REPLICA: Final = """
import sys
from prometheus_client import Counter
from common.telemetry.metrics import (
    export_build, exposition, is_summed, latency_histogram, shared_gauge, summed_gauge,
)
assert is_summed()
number = int(sys.argv[1])
export_build()
Counter("done_total", "Done").inc(number)
summed_gauge("open", "Open", ("kind",)).labels("a").set(number)
shared_gauge("queue", "Queue").set(number)
latency_histogram("took_seconds", "Took").observe(number / 1000)
print("ready", flush=True)
for _ in sys.stdin:
    print(exposition().decode(), flush=True)
    print("end", flush=True)
"""


class Replica:
    """A process that exposes metrics whenever it is asked to."""

    def __init__(self, number: int, folder: Path) -> None:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", REPLICA, str(number)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._asks, self._answers = self.process.stdin, self.process.stdout
        assert self._answers.readline() == "ready\n"

    def exposed(self) -> dict[str, float]:
        self._asks.write("\n")
        self._asks.flush()
        text = "".join(iter(self._answers.readline, "end\n"))
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.labels.get("le") in (None, "0.001", "10.0")
        }

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_any_replica_answers_for_all_and_the_dead_are_taken_out(tmp_path: Path) -> None:
    one = Replica(1, tmp_path)
    other = Replica(4, tmp_path)
    try:
        for replica in (one, other):
            found = replica.exposed()
            assert (found["done_total"], found["open"]) == (5, 5)
            # The same thing seen by both: not twice as long.
            assert found["queue"] == 4
            assert (found["took_seconds_count"], found["took_seconds_sum"]) == (2, 0.005)
            assert found["roomcast_build_info"] == 1
        other.end()
        forget_replica(other.process.pid, str(tmp_path))
        found = one.exposed()
        # What was counted was done.
        assert (found["done_total"], found["open"], found["queue"]) == (5, 1, 1)
        assert found["took_seconds_count"] == 2
    finally:
        one.end()
        other.end()


def test_one_process_exposes_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    assert not is_summed()
    names = {family.name for family in text_string_to_metric_families(exposition().decode())}
    assert {"python_info", "roomcast_build_info"} <= names


def test_there_is_no_series_for_when_a_counter_began() -> None:
    assert b"_created" not in exposition()


def test_the_build_is_labelled_with_the_version() -> None:
    code = "from common.telemetry.metrics import *; export_build(); print(exposition().decode())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f'roomcast_build_info{{python="{sys.version.split()[0]}",version="{VERSION}"}} 1.0' in (
        done.stdout
    )
