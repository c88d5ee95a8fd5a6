"""`python -m deploy.local.clean`: the step of `make clean` before the clone's folders are removed.

It refuses while a stack of this clone runs, and removes what root's PostgreSQL keeps outside of the
clone. It needs only the standard library: the environment may be gone.
"""

import argparse
import shutil
import sys
from pathlib import Path

from deploy.local.stores.postgres import copies_for, folder_for
from deploy.local.supervision.running_stacks import InUseError, data_dirs, hold_clone, user_of


def main() -> None:
    """Remove this clone's files below `/var/tmp` and print them; leave those of other clones.

    Raises:
        SystemExit: a stack of this clone runs.
    """
    project = Path.cwd().resolve()
    known = data_dirs(project)
    running = [f"{_short(path, project)} is {who}" for path in known if (who := user_of(path))]
    try:
        with hold_clone(project, alone=True):
            if running:
                _refuse(running)
            _remove_all(project, known)
    except InUseError:
        _refuse(running or ["a stack of this clone runs, with a DATA_DIR outside of it"])


def _refuse(reasons: list[str]) -> None:
    sys.exit("nothing was removed: " + "; ".join(reasons) + ". Stop it first (Ctrl-C)")


def _remove_all(project: Path, known: list[Path]) -> None:
    data = project / ".data"
    below = [data, *(path for path in data.rglob("*") if path.is_dir())]
    for folder in (copies_for(project), *(folder_for(path / "postgres") for path in below)):
        # Anyone may write there, and a link leads elsewhere. `make` itself removes `.data`.
        if folder.is_relative_to(project) or folder.is_symlink() or not folder.is_dir():
            continue
        try:
            shutil.rmtree(folder)
        except OSError as error:
            sys.stdout.write(f"{folder} could not be removed: {error.strerror}\n")
        else:
            sys.stdout.write(f"removed {folder}\n")
    for path in known:
        if path != data and data not in path.parents:
            kept = [path, *(p for p in [folder_for(path / "postgres")] if p.is_dir())]
            named = " and ".join(dict.fromkeys(_short(one, project) for one in kept))
            sys.stdout.write(f"left: {named}, the data of a DATA_DIR of your own\n")
    _remove_broker_copy(Path.home() / ".calfkit")


def _remove_broker_copy(cache: Path) -> None:
    """Remove the copy of the Kafka broker that older versions made, unless there are other files.

    Programs that still need it make it again.
    """
    found = sorted(cache.rglob("*")) if cache.is_dir() and not cache.is_symlink() else []
    ours = cache / "bin"
    if ours not in found:
        return
    more = [path for path in found if path != ours and not _is_broker(path, ours)]
    if more:
        sys.stdout.write(f"left: {ours}/tansu-*, because {more[0]} is not from Roomcast\n")
        return
    try:
        shutil.rmtree(cache)
    except OSError as error:
        sys.stdout.write(f"{cache} could not be removed: {error.strerror}\n")
    else:
        sys.stdout.write(f"removed {cache}\n")


def _is_broker(path: Path, folder: Path) -> bool:
    return path.parent == folder and path.name.startswith("tansu-") and path.is_file()


def _short(path: Path, project: Path) -> str:
    return str(path.relative_to(project) if path.is_relative_to(project) else path)


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m deploy.local.clean", description=__doc__).parse_args()
    main()
