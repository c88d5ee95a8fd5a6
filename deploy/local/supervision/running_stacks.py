"""Running stacks of this clone. Needs only the standard library, as `make clean` uses it.

A stack holds two locks, which end with it however it ends: one on the clone's folder, shared by
all stacks of the clone, and its own one on a file in its `DATA_DIR`. Its supervisord may outlive
it for the seconds that the parts take to stop.
"""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

_SKIPPED: Final = frozenset({".venv", ".git", "node_modules"})


class InUseError(Exception):
    """Another process holds the lock; the text says which one.

    Not of the tree in `common.errors`, which imports redis-py.
    """


@contextmanager
def hold_clone(project: Path, *, alone: bool = False) -> Iterator[None]:
    """Keep `make clean` out while a stack of this clone runs; or, `alone`, keep the stacks out.

    Raises:
        InUseError: a stack runs, or `make clean`.
    """
    folder = os.open(project, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"{project} is in use") from None
        yield
    finally:
        os.close(folder)


@contextmanager
def hold_data(data_dir: Path) -> Iterator[None]:
    """Keep every other stack out of a `DATA_DIR`, whose folder `run` exists.

    Raises:
        InUseError: one is there.
    """
    with (data_dir / "run" / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"in use by another stack{_whose(lock)}") from None
        if (pid := left_over(data_dir)) is not None:
            raise InUseError(
                f"in use by a stack whose console is gone (process {pid}); it ends by itself in "
                f"a few seconds, or `kill {pid}` stops it"
            )
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def data_dirs(project: Path) -> list[Path]:
    """Find the folders in the clone that a stack had as its `DATA_DIR`."""
    found = []
    for folder, names, _ in os.walk(project):
        names[:] = [name for name in names if name not in _SKIPPED]
        if (Path(folder) / "run" / "lock").is_file():
            found.append(Path(folder))
    return found


def user_of(data_dir: Path) -> str | None:
    """Describe the stack that runs in a `DATA_DIR` now; None if there is none."""
    try:
        with (data_dir / "run" / "lock").open("r") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return f"in use by a stack{_whose(lock)}"
    except OSError:
        return None
    pid = left_over(data_dir)
    return None if pid is None else f"in use by a stack that is stopping (process {pid})"


def left_over(data_dir: Path) -> int | None:
    """Find the process id of a `DATA_DIR`'s supervisord; ignore other processes with its number."""
    run = data_dir.resolve() / "run"
    try:
        pid = int((run / "supervisord.pid").read_text())
    except (OSError, ValueError):
        return None
    return pid if str(run / "supervisord.conf") in _command_line(pid) else None


def _command_line(pid: int) -> str:
    with suppress(OSError):
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .replace(b"\0", b" ")
            .decode("utf-8", "replace")
        )
    with suppress(OSError):
        return subprocess.run(  # noqa: S603
            ["ps", "-o", "args=", "-p", str(pid)],  # noqa: S607 - wherever this system has it
            capture_output=True,
            text=True,
            check=False,
        ).stdout
    return ""


def _whose(lock: IO[str]) -> str:
    lock.seek(0)
    text = lock.read(32).strip()
    return f" (process {text})" if text.isdecimal() else ""
