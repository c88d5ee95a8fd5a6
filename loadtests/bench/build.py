"""Compile the C client and the C send loop into `loadtests/build/`."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from loadtests.processes import ROOT

SOURCES: Final = ROOT / "loadtests" / "wsload"
BUILD: Final = ROOT / "loadtests" / "build"
WSLOAD: Final = BUILD / "wsload"
CLIMIT: Final = BUILD / "climit"
_PARTS: Final = {
    WSLOAD: ("wsload.c", "sockets.c", "publisher.c", "stats.c"),
    CLIMIT: ("climit.c",),
}


class BuildError(RuntimeError):
    """The C tools can't be compiled here; the message says why."""


def build() -> None:
    """Compile what is older than its sources.

    Raises:
        BuildError: there is no C compiler, or it failed.
    """
    BUILD.mkdir(exist_ok=True)
    newest = max(path.stat().st_mtime for path in SOURCES.iterdir())
    for program, parts in _PARTS.items():
        if not program.exists() or program.stat().st_mtime < newest:
            _compile(program, [SOURCES / part for part in parts])


def _compile(program: Path, sources: list[Path]) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise BuildError("no C compiler: run loadtests/peers/install, or install gcc")
    argv = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(program), *map(str, sources)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(done.stderr)
