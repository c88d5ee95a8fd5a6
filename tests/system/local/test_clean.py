"""`make clean`: everything of this project folder, and nothing of another."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.local.stores.postgres import folder_for
from tests.support.processes.process import ROOT


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: `make clean` removes something there."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def project(folder: Path) -> tuple[Path, Path]:
    """A copy of what `make clean` needs, and where its PostgreSQL has data."""
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    for name in ("deploy", "requirements"):
        shutil.copytree(ROOT / name, folder / name)
    for made in (".venv", ".data/valkey", ".mypy_cache"):
        (folder / made).mkdir(parents=True)
    data = folder_for(folder / ".data" / "postgres")
    (data / "data").mkdir(parents=True)
    (data / "data" / "PG_VERSION").write_text("18")
    return folder, data


def clean(folder: Path, status: int = 0) -> str:
    done = subprocess.run(
        ["make", "clean"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_clean_removes_the_data_of_this_folder_only(tmp_path: Path) -> None:
    first, data = project(tmp_path / "first")
    second, other = project(tmp_path / "second")
    beside = folder_for(first / ".data" / "beside" / "postgres")
    try:
        beside.mkdir(parents=True)
        (first / ".data" / "beside" / "valkey").mkdir(parents=True)
        clean(first)
        assert not data.exists()
        assert not beside.exists()
        assert {path.name for path in first.iterdir()} == {"Makefile", "deploy", "requirements"}
        assert (other / "data" / "PG_VERSION").read_text() == "18"
        assert (second / ".data" / "valkey").is_dir()
        clean(first)
        clean(second)
        assert not other.exists()
    finally:
        for folder in (data, other, beside):
            shutil.rmtree(folder, ignore_errors=True)


def test_a_link_in_place_of_the_data_is_not_followed(tmp_path: Path) -> None:
    folder, data = project(tmp_path / "linked")
    shutil.rmtree(data)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    data.symlink_to(precious)
    try:
        clean(folder)
        assert (precious / "file").exists()
    finally:
        data.unlink(missing_ok=True)


@contextmanager
def running(folder: Path, data_dir: Path) -> Iterator["subprocess.Popen[str]"]:
    """Something that holds what a stack holds."""
    held = (
        "from pathlib import Path\n"
        "from deploy.local.supervision.running_stacks import hold_clone, hold_data\n"
        f"Path({str(data_dir)!r}, 'run').mkdir(parents=True, exist_ok=True)\n"
        f"with hold_clone(Path('.')), hold_data(Path({str(data_dir)!r})):\n"
        "    print('on', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", held],
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("data_dir", [".data", ".data/second", "own", "../elsewhere"])
def test_nothing_is_removed_under_a_running_stack(tmp_path: Path, data_dir: str) -> None:
    folder, data = project(tmp_path / "used")
    try:
        with running(folder, folder / data_dir) as process:
            said = clean(folder, status=2)
            assert "nothing was removed" in said
            if not data_dir.startswith(".."):
                assert f"{data_dir} is in use by a stack (process {process.pid})" in said
            assert data.exists()
            assert (folder / ".venv").exists()
        # However it ended, and whatever process has its number now.
        (folder / data_dir / "run" / "supervisord.pid").write_text(f"{os.getpid()}\n")
        clean(folder)
        assert not data.exists()
        assert not (folder / ".venv").exists()
        if data_dir == "own":
            assert (folder / "own").exists()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_a_supervisord_without_a_console_is_waited_for(tmp_path: Path) -> None:
    folder, data = project(tmp_path / "orphan")
    run = folder / ".data" / "run"
    run.mkdir()
    (run / "lock").touch()
    try:
        with subprocess.Popen(
            ["sh", "-c", "read _", str(run / "supervisord.conf")], stdin=subprocess.PIPE
        ) as orphan:
            (run / "supervisord.pid").write_text(f"{orphan.pid}\n")
            assert f"process {orphan.pid}" in clean(folder, status=2)
            assert data.exists()
            orphan.kill()
        clean(folder)
        assert not data.exists()
    finally:
        shutil.rmtree(data, ignore_errors=True)


def test_the_copy_of_the_broker_is_removed_and_nothing_else_beside_it(
    tmp_path: Path, home: Path
) -> None:
    folder, data = project(tmp_path / "clone")
    broker = home / ".calfkit" / "bin" / "tansu-v0.6.0-510f3e2"
    broker.parent.mkdir(parents=True)
    broker.write_bytes(b"a program")
    theirs = home / ".calfkit" / "settings.json"
    theirs.write_text("{}")
    try:
        said = clean(folder)
        assert f"because {theirs} is not from Roomcast" in said
        assert broker.exists()
        theirs.unlink()
        assert f"removed {home / '.calfkit'}\n" in clean(folder)
        assert list(home.iterdir()) == []
    finally:
        shutil.rmtree(data, ignore_errors=True)
