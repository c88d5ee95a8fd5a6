"""`pip install .`: what is in the distribution, and that it runs wherever it is installed."""

import asyncio
import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.parser import Parser
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from common.config.settings import Settings
from common.config.version import VERSION
from deploy.processes import FOLDERS
from roomcast.command import COMMANDS
from tests.support.processes.process import LOOPBACK, START_TIMEOUT_S, Process, free_port, wait_for
from tests.support.stores.valkey import Valkey

ROOT = Path(__file__).parents[3]
ARRIVES_WITHIN_S = 15


@dataclass(frozen=True)
class Built:
    """The two files of a release."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Installed:
    """The distribution in an environment of its own, with a folder to run in."""

    bin: Path
    folder: Path
    environment: dict[str, str]

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet"),
            *("--disable-pip-version-check", "--no-index", "--no-deps", built.wheel),
        ],
        check=True,
    )
    (site,) = environment.glob("lib/python*/site-packages")
    # What it depends on is here already.
    (site / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    # Somebody else's packages of the same names, installed and in the folder that it runs in.
    folder = tmp_path_factory.mktemp("elsewhere")
    for place in (site, folder):
        for name in FOLDERS:
            (place / f"{name}.py").write_text("raise AssertionError('not ours')\n")
    ours = {name.upper() for name in Settings.model_fields} | {"PYTHONPATH"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return Installed(environment / "bin", folder, kept)


def sources() -> Iterator[str]:
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield str(path.relative_to(ROOT))


def test_the_wheel_has_all_sources_below_one_package(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = set(wheel.namelist())
        metadata = Parser().parsestr(wheel.read(f"roomcast-{VERSION}.dist-info/METADATA").decode())
    expected = {f"roomcast/parts/{name}" for name in sources()}
    expected |= {f"roomcast/{name}.py" for name in ("__init__", "__main__", "command")}
    info = {name for name in names if name.startswith(f"roomcast-{VERSION}.dist-info/")}
    assert names - info == expected
    assert any(name.endswith(".lua") for name in expected)
    assert any(name.endswith(".sql") for name in expected)
    assert f"roomcast-{VERSION}.dist-info/licenses/LICENSE" in info
    assert (metadata["Name"], metadata["Version"]) == ("roomcast", VERSION)
    assert metadata["License-Expression"] == "MIT"


def test_the_source_distribution_has_what_a_build_needs_and_no_more(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    more = {
        *("roomcast/__init__.py", "roomcast/__main__.py", "roomcast/command.py"),
        *("CHANGELOG.md", "LICENSE", "README.md", "pyproject.toml", "requirements/runtime.txt"),
        *("PKG-INFO", ".gitignore"),
    }
    assert names == set(sources()) | more


def test_a_wheel_of_the_source_distribution_is_the_same(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"],
        cwd=tmp_path / f"roomcast-{VERSION}",
        check=True,
        capture_output=True,
    )
    (again,) = (tmp_path / "again").glob("*.whl")
    with zipfile.ZipFile(built.wheel) as one, zipfile.ZipFile(again) as other:
        assert {item.filename: item.CRC for item in one.infolist()} == {
            item.filename: item.CRC for item in other.infolist()
        }


def test_a_build_needs_what_the_lock_pins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    locked = "".join((ROOT / "requirements" / f"{n}.txt").read_text() for n in ("dev", "local"))
    for requirement in project["build-system"]["requires"]:
        assert f"\n{requirement} \\\n" in locked, requirement


def test_nothing_of_it_is_importable_by_others(installed: Installed) -> None:
    code = "import common"
    done = installed.run(str(installed.bin / "python"), "-P", "-c", code)
    assert "not ours" in done.stderr


def test_the_command_is_installed_and_knows_every_other(installed: Installed) -> None:
    roomcast = str(installed.bin / "roomcast")
    told = installed.run(roomcast, "--version")
    assert (told.returncode, told.stdout) == (0, f"roomcast {VERSION}\n"), told.stderr
    for command in COMMANDS:
        helped = installed.run(roomcast, command.name, "--help")
        assert helped.returncode == 0, helped.stderr
        assert helped.stdout.startswith(f"usage: roomcast {command.name} ")
    # Everything is imported by these, and nothing is reached.
    for name in ("server", "worker", "gateway", "history", "kafka-bridge"):
        refused = installed.run("env", "PORT=none", roomcast, name)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
        assert refused.stderr.startswith("setting PORT is refused"), refused.stderr


@contextmanager
def running(installed: Installed, folder: Path) -> Iterator[tuple[int, int]]:
    """A Valkey and the three processes, as an operator starts them; yields two ports."""
    ports = {name: free_port() for name in ("PORT", "WS_PORT", "WORKER_PORT")}
    valkey = Valkey(folder)
    environment = {
        **installed.environment,
        **{name: str(port) for name, port in ports.items()},
        "HOST": LOOPBACK,
        "REDIS_CLIENT": valkey.url,
        "AUTH_MODE": "open",
        # Replicas are started from the same sources.
        "SERVER_PROCESSES": "2",
        "WORKER_PROCESSES": "2",
    }
    processes = {
        setting: Process(
            name, [str(installed.bin / "roomcast"), name], installed.folder, environment
        )
        for name, setting in (("gateway", "WS_PORT"), ("worker", "WORKER_PORT"), ("server", "PORT"))
    }
    try:
        valkey.start()
        for process in processes.values():
            process.start()
        for setting, process in processes.items():
            url = f"http://{LOOPBACK}:{ports[setting]}/readyz"
            wait_for(partial(answers, url), process, "ready", START_TIMEOUT_S)
        yield ports["PORT"], ports["WS_PORT"]
    finally:
        for process in processes.values():
            process.stop()
        valkey.stop()


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def post(port: int, body: dict[str, Any]) -> str:
    request = urllib.request.Request(
        f"http://{LOOPBACK}:{port}/notify",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as accepted:
        return str(json.load(accepted)["id"])


async def test_a_notification_goes_through_an_installed_roomcast(
    installed: Installed, tmp_path: Path
) -> None:
    with running(installed, tmp_path) as (port, ws_port):
        async with connect(f"ws://{LOOPBACK}:{ws_port}/", proxy=None) as socket:
            await socket.send(json.dumps({"userId": 1, "room": 1}))
            answer = json.loads(await asyncio.wait_for(socket.recv(), ARRIVES_WITHIN_S))
            assert answer["type"] == "registered"
            body = {"userId": 2, "type": "room", "target": 1, "message": "hi"}
            sent = await asyncio.to_thread(post, port, body)
            arrived = json.loads(await asyncio.wait_for(socket.recv(), ARRIVES_WITHIN_S))
            assert (arrived["id"], arrived["message"]) == (sent, "hi")
