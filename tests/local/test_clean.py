"""`make clean`: everything of this project folder, and nothing of another."""

import shutil
import subprocess
from pathlib import Path

from deploy.local.postgres import folder_for
from tests.process import ROOT


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


def clean(folder: Path) -> None:
    done = subprocess.run(
        ["make", "clean"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


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
