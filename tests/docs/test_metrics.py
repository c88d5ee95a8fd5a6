"""Metrics of all processes: on the page, set by somebody, and right for several replicas."""

import importlib
import re
from pathlib import Path

import pytest
from prometheus_client import REGISTRY, Gauge
from prometheus_client.metrics import MetricWrapperBase

from deploy.processes import FOLDERS

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs" / "reference" / "metrics.md").read_text()
PAGES = sorted((PROJECT / "docs").rglob("*.md"))

DEFINED_IN = {
    "Server": ["server.notify.accept_batcher", "server.inbox.reader", "server.notify.handler"],
    "Worker": ["worker.metrics"],
    "Gateway": ["ws_gateway.metrics"],
    "History": ["common.events.group_reader", "history.writing.metrics"],
    "Bridge": ["common.events.group_reader", "kafka_bridge.metrics"],
    "All": ["common.telemetry.metrics", "common.telemetry.readiness", "common.accounting.usage"],
}


def _exposed(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    return f"{family.name}_total" if family.type == "counter" else str(family.name)


def _in_code(modules: list[str]) -> dict[str, tuple[str, ...]]:
    return {
        _exposed(value): value._labelnames
        for module in modules
        for value in vars(importlib.import_module(module)).values()
        if isinstance(value, MetricWrapperBase)
        and not value._labelvalues  # a child with its labels' values is no metric of its own
        and value in REGISTRY._collector_to_names
    }


def _on_page(section: str) -> dict[str, str]:
    table = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(roomcast_\w+)` \| (.+) \|$", table, re.MULTILINE))


@pytest.mark.parametrize("section", DEFINED_IN)
def test_the_page_lists_the_metrics_of_the_code_with_their_labels(section: str) -> None:
    in_code, on_page = _in_code(DEFINED_IN[section]), _on_page(section)
    assert set(on_page) == set(in_code)
    for name, labels in in_code.items():
        for label in labels:
            assert f"`{label}`" in on_page[name], f"{name} has the label {label}"


def test_no_module_defines_metrics_that_this_test_does_not_know() -> None:
    known = {name for modules in DEFINED_IN.values() for name in modules}
    makers = "Counter|Gauge|Histogram|summed_gauge|shared_gauge|latency_histogram"
    defining = re.compile(rf"^\w+(?:: \w+)? = (?:\w+\.)?(?:{makers})\(", re.MULTILINE)
    found = {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for folder in FOLDERS
        for path in (PROJECT / folder).rglob("*.py")
        if defining.search(path.read_text())
    }
    assert found == known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_metric_that_a_page_mentions_is_in_a_table(page: Path) -> None:
    listed = {name for section in DEFINED_IN for name in _on_page(section)}
    named = set(re.findall(r"\broomcast_\w+", page.read_text())) - {"roomcast_client"}
    assert named <= listed


def _metrics_of(module: str) -> dict[str, MetricWrapperBase]:
    return {
        name: value
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, MetricWrapperBase) and value in REGISTRY._collector_to_names
    }


@pytest.mark.parametrize(
    "module", [name for names in DEFINED_IN.values() for name in names if name.endswith(".metrics")]
)
def test_every_metric_is_set_by_somebody(module: str) -> None:
    folder = PROJECT / module.partition(".")[0]
    texts = [path.read_text() for path in folder.rglob("*.py")]
    for name in _metrics_of(module):
        used = rf"\bmetrics\.{name}\b" if not name.startswith("_") else rf"\b{name}\.labels"
        assert any(re.search(used, text) for text in texts), f"{module}.{name} is never set"


@pytest.mark.parametrize(
    "module", sorted({name for names in DEFINED_IN.values() for name in names})
)
def test_replicas_expose_one_value_of_a_gauge_and_leave_none_behind(module: str) -> None:
    for name, metric in _metrics_of(module).items():
        if isinstance(metric, Gauge):
            # Any other has a series for each replica that ever was.
            assert metric._multiprocess_mode.startswith("live"), name
            assert "all" not in metric._multiprocess_mode, name
