"""`python -m deploy.local.client`, run by `make client`: makes a client of a running stack.

Finds the stack of `DATA_DIR`, and runs `python -m server create-client` with its stores.
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Final

from common.config.loading import load_settings
from common.config.settings import Settings
from deploy.local.supervision.running_stacks import data_dirs, user_of

PROJECT: Final = Path(__file__).resolve().parents[2]
USAGE: Final = "make client NAME=… EMAIL=…   (ADMIN=1: a client that manages all others)"
STORES: Final = ("DATABASE_URL", "REDIS_CLIENT", "REDIS_CA_FILE", "EVENT_READERS")


def stores_file(data_dir: Path) -> Path:
    """Return the file with a running stack's store settings, readable by its user alone."""
    return data_dir / "run" / "stores.json"


def write_stores(settings: Settings, redis_url: str) -> None:
    """Write the store settings that `make client` reads."""
    path = stores_file(settings.data_dir)
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    stores = (
        settings.database_url.get_secret_value(),
        redis_url,
        settings.redis_ca_file,
        settings.event_readers,
    )
    path.write_text(json.dumps(dict(zip(STORES, stores, strict=True))))


def make_client_command(settings: Settings, *, admin: bool = False) -> str:
    """Return the command that makes a client of a stack with these settings."""
    default = settings.data_dir == Path(".data")
    where = "" if default else f"DATA_DIR={settings.data_dir} "
    who = "ADMIN=1 NAME=operations EMAIL=you@example.com"
    return f"{where}make client {who if admin else 'NAME=… EMAIL=…'}"


def main() -> None:
    """Replace this process by the server's `create-client`.

    Raises:
        SystemExit: a name is missing, or no stack runs.
    """
    name, email = os.environ.get("NAME", ""), os.environ.get("EMAIL", "")
    if not name or not email:
        sys.exit(f"no client was made: it needs a name and an email address: {USAGE}")
    os.chdir(PROJECT)
    data_dir = load_settings().data_dir
    if user_of(data_dir) is None:
        others = [path.relative_to(PROJECT) for path in data_dirs(PROJECT) if user_of(path)]
        hint = "".join(f"; one runs with DATA_DIR={path}" for path in others)
        sys.exit(
            f"no client was made: no stack runs with DATA_DIR {data_dir}{hint}. "
            "`make run` starts one, `AUTH_MODE=required make run` one that asks for keys"
        )
    try:
        stores = json.loads(stores_file(data_dir).read_text())
    except OSError as error:
        sys.exit(f"no client was made: {stores_file(data_dir)}: {error.strerror}")
    if not stores["DATABASE_URL"]:
        sys.exit("no client was made: the stack has no PostgreSQL (DATABASE_URL is empty)")
    kept = {
        n: value for n, value in os.environ.items() if n.upper().removesuffix("_FILE") not in STORES
    }
    admin = ["--admin"] if os.environ.get("ADMIN", "") not in ("", "0", "false", "no") else []
    os.execve(  # noqa: S606
        sys.executable,
        [sys.executable, "-m", "server", "create-client", *admin, "--", name, email],
        kept | {n: value for n, value in stores.items() if value},
    )


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m deploy.local.client", description=__doc__, epilog=USAGE
    ).parse_args()
    main()
