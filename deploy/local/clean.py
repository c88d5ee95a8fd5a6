"""`python -m deploy.local.clean`: what `make clean` can't name, PostgreSQL's data when root ran it.

Needs nothing but the standard library: the environment may be gone.
"""

import shutil
from pathlib import Path

from deploy.local.postgres import folder_for


def main() -> None:
    """Remove the PostgreSQL data of `.data` here and of every `DATA_DIR` below it, nothing else."""
    data = Path(".data").resolve()
    for data_dir in [data, *(path for path in data.rglob("*") if path.is_dir())]:
        folder = folder_for(data_dir / "postgres")
        # Anyone may write there: a link leads to what is not ours.
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
