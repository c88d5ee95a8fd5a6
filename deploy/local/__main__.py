"""Composition root of the local stack: `python -m deploy.local [--reload]`."""

import asyncio
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from common.config.loading import load_settings
from common.config.settings import Settings
from common.config.store_urls import without_password
from common.process.command_line import command_parser
from deploy.local.client import make_client_command, stores_file, write_stores
from deploy.local.console.console import Console
from deploy.local.console.first_screen import first_client, first_screen, readiness_urls
from deploy.local.console.log_files import LogFiles
from deploy.local.parts import (
    child_environment,
    complete,
    list_listeners,
    list_parts,
    postgres_folder,
    uses_own_kafka,
    uses_own_postgres,
    uses_own_valkey,
    valkey_folder,
)
from deploy.local.ports.conflicts import find_conflicts
from deploy.local.stack import RUNNER, Stack, Start
from deploy.local.supervision.running_stacks import InUseError, hold_clone, hold_data
from deploy.local.supervision.supervisord import (
    Control,
    Places,
    UnfitPathError,
    write_configuration,
)

PROJECT: Final = Path(__file__).resolve().parents[2]


def run(settings: Settings, pipes: Path, *, reload: bool) -> int:
    """Run the stack with its files below `pipes` (short-lived) and `DATA_DIR`."""
    own_valkey = uses_own_valkey(os.environ)
    own_postgres = uses_own_postgres(os.environ)
    own_kafka = uses_own_kafka(os.environ)
    settings = complete(settings, own_postgres=own_postgres, own_kafka=own_kafka)
    listeners = list_listeners(
        settings, own_valkey=own_valkey, own_postgres=own_postgres, own_kafka=own_kafka
    )
    if conflicts := find_conflicts(listeners):
        sys.stderr.write("".join(f"{conflict}\n" for conflict in conflicts))
        return 1
    parts = list_parts(
        settings, own_valkey=own_valkey, own_postgres=own_postgres, own_kafka=own_kafka
    )
    places = _places(settings, pipes)
    password = secrets.token_urlsafe()
    write_configuration(places, parts, PROJECT, password)
    if own_valkey:
        valkey_folder(settings).mkdir(parents=True, exist_ok=True)
        redis = (
            f"Valkey on port {settings.valkey_port}, data in {_shorten(valkey_folder(settings))}"
        )
    else:
        redis = f"{without_password(settings.redis_url)} (REDIS_CLIENT)"
    if own_postgres:
        folder = _shorten(postgres_folder(settings))
        database = f"PostgreSQL on port {settings.postgres_port}, data in {folder}"
    elif settings.database_url:
        database = f"{without_password(settings.database_url.get_secret_value())} (DATABASE_URL)"
    else:
        database = "off: DATABASE_URL is empty"
    if own_kafka:
        kafka = f"Tansu on port {settings.kafka_port}, in memory"
    elif settings.kafka_brokers:
        kafka = f"{settings.kafka_brokers} (KAFKA_BROKERS)"
    else:
        kafka = "off: KAFKA_BROKERS is empty"
    command = make_client_command(settings)
    logs = LogFiles(settings.data_dir.resolve() / "logs")
    screen = first_screen(
        settings,
        redis,
        _shorten(places.configuration),
        database,
        kafka,
        logs=_shorten(logs.folder),
        client_command=command,
    )
    environment = child_environment(settings, own_valkey=own_valkey)
    write_stores(
        settings, environment.get("REDIS_CLIENT", settings.redis_client.get_secret_value())
    )
    names = [part.name for part in parts]
    console = Console([RUNNER, *names], logs=logs, verbose=settings.verbose)
    ports = {
        "valkey": settings.valkey_port,
        "postgres": settings.postgres_port,
        "kafka": settings.kafka_port,
    }
    start = Start(
        readiness_urls(settings),
        {name: port for name, port in ports.items() if name in names},
        screen,
        first_client(make_client_command(settings, admin=True)),
        reload,
    )

    async def run_stack() -> int:
        control = Control(places.socket, password)
        return await Stack(parts, places, control, console, logs, PROJECT).run(environment, start)

    try:
        status = asyncio.run(run_stack())
    finally:
        stores_file(settings.data_dir).unlink(missing_ok=True)
    console.text(RUNNER, _farewell(settings, own_valkey=own_valkey, own_postgres=own_postgres))
    if logs.trouble:
        console.text(RUNNER, f"not all that was logged could be written: {logs.trouble}")
    logs.close()
    return status


def _farewell(settings: Settings, *, own_valkey: bool, own_postgres: bool) -> str:
    folders = []
    if own_valkey:
        folders.append(_shorten(valkey_folder(settings)))
    if own_postgres:
        folders.append(_shorten(postgres_folder(settings)))
    logs = f"logs are in {_shorten(settings.data_dir.resolve() / 'logs')}"
    if not folders:
        return f"stopped; {logs}"
    return (
        f"stopped; data is in {' and '.join(folders)}, {logs}. "
        "The next `make run` goes on with it, `make clean` removes it"
    )


def main() -> None:
    """Start the stack."""
    parser = command_parser("deploy.local", "Run Roomcast and its stores here, for development.")
    parser.add_argument(
        "--reload", action="store_true", help="start a process again when its sources change"
    )
    arguments = parser.parse_args()
    # `.env`, relative paths and `python -m` mean the project's folder.
    os.chdir(PROJECT)
    settings = load_settings()
    # Some systems limit a socket's path to 104 bytes, too few for some DATA_DIR or TMPDIR.
    with (
        _only_one(settings),
        tempfile.TemporaryDirectory(prefix="roomcast-", dir="/tmp") as folder,
    ):
        try:
            status = run(settings, Path(folder), reload=arguments.reload)
        except UnfitPathError as error:
            sys.exit(f"can't run below {PROJECT} with this DATA_DIR: {error}")
    sys.exit(status)


@contextmanager
def _only_one(settings: Settings) -> Iterator[None]:
    """Keep a second stack out of the data folder: two would destroy Valkey's file."""
    try:
        (settings.data_dir / "run").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(f"DATA_DIR {settings.data_dir} can't be used: {error.strerror}")
    with ExitStack() as held:
        try:
            held.enter_context(hold_clone(PROJECT))
        except InUseError:
            sys.exit("`make clean` is at work here; wait for its end")
        try:
            held.enter_context(hold_data(settings.data_dir))
        except InUseError as error:
            sys.exit(f"DATA_DIR {settings.data_dir} is {error}. Another stack needs another one")
        except OSError as error:
            sys.exit(f"DATA_DIR {settings.data_dir} can't be used: {error.strerror}")
        yield


def _places(settings: Settings, pipes: Path) -> Places:
    folder = settings.data_dir.resolve() / "run"
    return Places(
        configuration=folder / "supervisord.conf",
        pid=folder / "supervisord.pid",
        socket=pipes / "supervisord.sock",
        pipes=pipes,
    )


def _shorten(path: Path) -> str:
    return str(path.relative_to(PROJECT) if path.is_relative_to(PROJECT) else path)


if __name__ == "__main__":
    main()
