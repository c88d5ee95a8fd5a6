"""The locks in `requirements/` go on installing, whatever is published after they were made.

`make install` runs with the pip that each Python here brings, from an index of empty wheels that
has the names, versions and dependencies of the locked packages, and a newer version of every one.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

import pytest

from tests.support.processes.process import ROOT

NEWER = "9999.0"
_PIN = re.compile(r"^([a-z0-9-]+)==([^ \\;]+)", re.MULTILINE)


def _pythons() -> list[Path]:
    """Every supported Python of this machine, of pyenv and the one that runs this."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = [
        path / "bin" / "python"
        for path in sorted(versions.glob("3.*"))
        if tuple(int(part) for part in re.findall(r"\d+", path.name)[:2]) >= (3, 11)
    ]
    return found or [Path(getattr(sys, "_base_executable", sys.executable))]


PYTHONS = _pythons()


def _wheel(folder: Path, name: str, version: str, needs: list[str]) -> str:
    """Write a wheel without modules, as a page of a simple index has it; its SHA-256."""
    project = name.replace("-", "_")
    folder = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{project}-{version}-py3-none-any.whl"
    info = f"{project}-{version}.dist-info"
    # Extras are declared, or pip would only warn where it should look for more.
    extras = sorted(
        {extra for need in needs for extra in re.findall(r"extra == ['\"](.+?)['\"]", need)}
    )
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Provides-Extra: {extra}" for extra in extras),
        *(f"Requires-Dist: {need}" for need in needs),
    ]
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{info}/METADATA", "\n".join(metadata) + "\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    page = folder / "index.html"
    with page.open("a") as links:
        links.write(f'<a href="{path.name}#sha256={digest}">{path.name}</a>\n')
    return digest


def _needs(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:  # it is for another platform
        return []


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of what `make install` needs, locked to wheels of the index in `index/`."""
    folder = tmp_path_factory.mktemp("lock")
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "tools", folder / "tools")
    (folder / "requirements").mkdir()
    hashes: dict[tuple[str, str], str] = {}
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        lines = []
        for line in lock.read_text().splitlines():
            if line.lstrip().startswith("--hash"):
                continue
            pin = _PIN.match(line)
            if pin:
                name, version = pin.groups()
                if (name, version) not in hashes:
                    hashes[name, version] = _wheel(folder / "index", name, version, _needs(name))
                lines += [line, f"    --hash=sha256:{hashes[name, version]}"]
            else:
                lines.append(line)
        (folder / "requirements" / lock.name).write_text("\n".join(lines) + "\n")
    for name, _ in hashes:
        _wheel(folder / "index", name, NEWER, _needs(name))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("python", PYTHONS, ids=[path.parent.parent.name for path in PYTHONS])
def test_the_lock_installs_while_the_index_has_newer_versions(project: Path, python: Path) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "COVERAGE_", "MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "--no-print-directory", "install", f"PYTHON={python}"],
        cwd=project,
        env=environment
        | {"PIP_INDEX_URL": (project / "index").as_uri(), "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    installed = {
        path.name for path in (project / ".venv" / "lib").glob("python*/site-packages/*.dist-info")
    }
    assert any(name.startswith("coverage-") for name in installed)
    assert not [name for name in installed if NEWER in name]
    shutil.rmtree(project / ".venv")
