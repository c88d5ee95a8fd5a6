"""Metrics shared by processes, and their sums over replicas.

Replicas that share a port write to memory-mapped files in a common folder
(`PROMETHEUS_MULTIPROC_DIR`, set by `common.process.replicas` before they start), so any of them
answers for all.
"""

import os
import platform
from typing import Final

from prometheus_client import (
    REGISTRY,
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from common.config.version import VERSION

# A separate series for the start of each counter adds nothing that Prometheus doesn't know.
disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCY_BUCKETS_S: Final = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Bounds in seconds of every latency histogram."""

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def latency_histogram(name: str, text: str) -> Histogram:
    """Make a histogram of seconds with the bounds that all latencies share."""
    return Histogram(name, text, buckets=LATENCY_BUCKETS_S)


def summed_gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """Make a gauge whose value is the sum over the live replicas."""
    return Gauge(name, text, labels, multiprocess_mode="livesum")


def shared_gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
    """Make a gauge that is the same in every replica, such as a queue's length in Redis."""
    return Gauge(name, text, labels, multiprocess_mode="livemostrecent")


def export_build() -> None:
    """Export the version. Each replica does so itself: the parent serves no metrics."""
    _build.labels(VERSION, platform.python_version()).set(1)


def is_summed() -> bool:
    """Return True if this process is one of several replicas whose metrics are summed."""
    return "PROMETHEUS_MULTIPROC_DIR" in os.environ


def exposition() -> bytes:
    """Render the metrics of this process and its replicas in Prometheus's format."""
    if not is_summed():
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    collect_replicas(registry)
    return generate_latest(registry)


def collect_replicas(registry: CollectorRegistry) -> None:
    """Let a registry sum over the replicas that share this process's folder."""
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]


_build = Gauge(
    "roomcast_build_info",
    "Version of Roomcast and of Python; the value is always 1",
    ("version", "python"),
    multiprocess_mode="livemax",
)


def forget_replica(pid: int, folder: str) -> None:
    """Remove the gauges of a dead replica from the sums; its counters stay."""
    mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
