"""What Prometheus gets from the five processes: as its own linter wants it, and no more series."""

import re
import subprocess
from collections.abc import Iterator
from typing import Any, Final

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from common.config.version import VERSION
from tests.support.processes.stack import Stack
from tests.support.skips import need_programs
from tests.support.stores.kafka import Tansu

PROCESSES: Final = ("server-1", "worker-1", "gateway-1", "history-1", "bridge-1")
# Units that promtool wants in their base, and names that say a type, as its linter has them.
NOT_BASE_UNITS: Final = re.compile(
    r"_(milliseconds|microseconds|nanoseconds|minutes|hours|days|weeks|kilobytes|megabytes|percent|ms|us|s|min|sec|mb|kb)(_|$)"
)
TYPES_IN_NAMES: Final = re.compile(r"_(counter|gauge|histogram|summary)(_|$)")


@pytest.fixture(scope="module", params=["1", "2"], ids=["alone", "replicas"])
def exposed(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """What each process exposes, alone and as two replicas."""
    folder = tmp_path_factory.mktemp("exposition")
    processes = {
        f"{name}_PROCESSES": request.param
        for name in ("SERVER", "WORKER", "GATEWAY", "HISTORY", "KAFKA_BRIDGE")
    }
    with Tansu(folder) as broker:
        settings: Any = {**processes, **broker.settings("history,kafka")}
        with Stack(folder, history=1, bridges=1, **settings) as stack:
            yield {name: stack.get(name, "/metrics")[1] for name in PROCESSES}


@pytest.mark.parametrize("process", PROCESSES)
def test_every_process_says_which_version_it_is(exposed: dict[str, str], process: str) -> None:
    lines = re.findall(r"^roomcast_build_info\{(.*)\} 1\.0$", exposed[process], re.MULTILINE)
    assert len(lines) == 1
    assert f'version="{VERSION}"' in lines[0]
    assert re.search(r'python="3\.\d+\.\d+', lines[0])


@pytest.mark.parametrize("process", PROCESSES)
def test_there_is_no_series_for_when_a_counter_began(exposed: dict[str, str], process: str) -> None:
    assert "_created" not in exposed[process]


def _faults(family: Metric) -> Iterator[str]:
    """What promtool's linter would say of a family."""
    name = family.name
    if not family.documentation:
        yield "no help text"
    if family.type == "unknown":
        yield "no type"
    if family.type != "counter" and name.endswith("_total"):
        yield "only a counter's name ends with _total"
    if family.type not in ("histogram", "summary") and re.search(r"_(bucket|count|sum)$", name):
        yield "only a histogram's name ends so"
    if found := NOT_BASE_UNITS.search(name):
        yield f"not in base units: {found[1]}"
    if found := TYPES_IN_NAMES.search(name):
        yield f"its type is part of its name: {found[1]}"
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        yield "colons and capitals are for others"
    series = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
    if len(series) != len(set(series)):
        yield "a series comes twice"


@pytest.mark.parametrize("process", PROCESSES)
def test_every_name_is_as_prometheus_wants_it(exposed: dict[str, str], process: str) -> None:
    families = list(text_string_to_metric_families(exposed[process]))
    assert len(families) > 3
    assert [f"{family.name}: {fault}" for family in families for fault in _faults(family)] == []


def test_the_check_finds_what_promtool_finds() -> None:
    text = "# TYPE a_days gauge\na_days 1\n# HELP b_total x\n# TYPE b_total gauge\nb_total 1\n"
    faults = [fault for family in text_string_to_metric_families(text) for fault in _faults(family)]
    assert faults == [
        "no help text",
        "not in base units: days",
        "only a counter's name ends with _total",
    ]


@pytest.mark.parametrize("process", PROCESSES)
def test_promtool_has_nothing_to_say(exposed: dict[str, str], process: str) -> None:
    # Debian: the package prometheus, of which `.ci/run` installs this program alone.
    need_programs("promtool", why="Prometheus's own linter")
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=exposed[process],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
