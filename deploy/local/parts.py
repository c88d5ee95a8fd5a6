"""Parts of the local stack: their commands, settings and ports."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from common.config.settings import AuthMode, LogFormat, Settings
from deploy.local.stores import postgres
from deploy.local.stores.kafka import kafka_command
from deploy.local.stores.valkey import valkey_command
from deploy.processes import PROCESSES, Process

LOOPBACK: Final = "127.0.0.1"

# Time that a part may take to end, beyond the time that it gives its connections: a worker waits
# for the reply to its last publication, and for its lease.
_STOP_GRACE_S: Final = 15

# On a developer's machine nobody wants to wait ten seconds for Ctrl-C.
_LOCAL_DRAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """One process that is kept running.

    Attributes:
        name: prefix of its lines.
        command: program and arguments.
        priority: parts start from the lowest and stop, one by one, from the highest.
        stop_wait_s: seconds that it may take to end after its signal before it is killed.
        sources: folders below the project's whose changes restart this part alone.
        stop_signal: signal that ends it.
    """

    name: str
    command: tuple[str, ...]
    priority: int
    stop_wait_s: int
    sources: tuple[str, ...] = field(default=())
    stop_signal: str = "TERM"


@dataclass(frozen=True, slots=True)
class Listener:
    """Address that a part will listen on, and the setting that chose it."""

    setting: str
    host: str
    port: int


def uses_own_valkey(environment: Mapping[str, str]) -> bool:
    """Return True if Valkey is part of the stack.

    It isn't if `REDIS_CLIENT` comes from the environment. The one in `.env` doesn't count: it is
    the address of the Valkey that is started here.
    """
    return not _names("REDIS_CLIENT", environment)


def uses_own_postgres(environment: Mapping[str, str]) -> bool:
    """Return True if PostgreSQL is part of the stack: as for Valkey, with `DATABASE_URL`.

    Empty in the environment, `DATABASE_URL` turns history off.
    """
    return not _names("DATABASE_URL", environment)


def uses_own_kafka(environment: Mapping[str, str]) -> bool:
    """Return True if a Kafka broker is part of the stack: as for Valkey, with `KAFKA_BROKERS`.

    Empty in the environment, `KAFKA_BROKERS` turns the bridge off.
    """
    return not _names("KAFKA_BROKERS", environment)


def _names(setting: str, environment: Mapping[str, str]) -> bool:
    return any(name.upper() in (setting, f"{setting}_FILE") for name in environment)


def _is_in_a_file(setting: str, environment: Mapping[str, str]) -> bool:
    return any(name.upper() == f"{setting}_FILE" and environment[name] for name in environment)


def complete(settings: Settings, *, own_postgres: bool, own_kafka: bool = False) -> Settings:
    """Complete the settings with the runner's own stores and the readers of events.

    No key is needed unless the environment says so: this runs on a developer's machine.
    """
    known: dict[str, str | SecretStr] = {}
    if "auth_mode" not in settings.model_fields_set:
        known["auth_mode"] = AuthMode.OPEN
    if own_postgres:
        known["database_url"] = SecretStr(postgres.url(settings.postgres_port))
    if own_kafka:
        known["kafka_brokers"] = f"{LOOPBACK}:{settings.kafka_port}"
    if "event_readers" not in settings.model_fields_set:
        on = {
            "history": known.get("database_url", settings.database_url),
            "kafka": known.get("kafka_brokers", settings.kafka_brokers),
        }
        known["event_readers"] = ",".join(reader for reader, where in on.items() if where)
    return settings.model_copy(update=known)


def list_parts(
    settings: Settings, *, own_valkey: bool, own_postgres: bool = False, own_kafka: bool = False
) -> list[Part]:
    """List all parts, in the order in which they start.

    They stop in reverse: first nothing new is accepted, then the workers finish their
    publications, then the gateways close their connections, then the last events are written, and
    Kafka, PostgreSQL and Valkey stop last.
    """
    parts = [_part(process, settings) for process in running_processes(settings)]
    if own_valkey:
        command = valkey_command(valkey_folder(settings), settings.valkey_port, host=LOOPBACK)
        parts.append(Part("valkey", command, 10, 10))
    if own_postgres:
        command = postgres.command(postgres_folder(settings), settings.postgres_port)
        parts.append(Part("postgres", yielding(settings, command), 11, 10, stop_signal="INT"))
    if own_kafka:
        command = kafka_command(settings.kafka_port, host=LOOPBACK)
        parts.append(Part("kafka", yielding(settings, command), 12, 10))
    return sorted(parts, key=lambda part: part.priority)


def running_processes(settings: Settings) -> list[Process]:
    """List the processes that these settings turn on."""
    return [
        process for process in PROCESSES if not process.switch or getattr(settings, process.switch)
    ]


def _part(process: Process, settings: Settings) -> Part:
    drain = round(_drain_s(settings)) if process.drains else 0
    command = (sys.executable, "-m", process.module)
    return Part(process.name, command, process.order, _STOP_GRACE_S + drain, process.folders)


def yielding(settings: Settings, command: tuple[str, ...]) -> tuple[str, ...]:
    """Wrap the command of a store that no socket waits for: it gives way as its writer does."""
    if not settings.reader_niceness:
        return command
    return ("nice", "-n", str(settings.reader_niceness), *command)


def list_listeners(
    settings: Settings, *, own_valkey: bool, own_postgres: bool = False, own_kafka: bool = False
) -> list[Listener]:
    """List all addresses that must be free."""
    listeners = [
        Listener(process.port.upper(), settings.host, getattr(settings, process.port))
        for process in running_processes(settings)
    ]
    if own_valkey:
        listeners.append(Listener("VALKEY_PORT", LOOPBACK, settings.valkey_port))
    if own_postgres:
        listeners.append(Listener("POSTGRES_PORT", LOOPBACK, settings.postgres_port))
    if own_kafka:
        listeners.append(Listener("KAFKA_PORT", LOOPBACK, settings.kafka_port))
    return listeners


def child_environment(settings: Settings, *, own_valkey: bool) -> dict[str, str]:
    """Make the environment of all parts: this process's, plus the runner's own values."""
    environment = dict(os.environ)
    # Otherwise a pipe is block-buffered, and the last lines of a process that dies are lost.
    environment["PYTHONUNBUFFERED"] = "1"
    if own_valkey:
        environment["REDIS_CLIENT"] = f"redis://{LOOPBACK}:{settings.valkey_port}/0"
    if not _is_in_a_file("DATABASE_URL", environment):
        environment["DATABASE_URL"] = settings.database_url.get_secret_value()
    environment["KAFKA_BROKERS"] = settings.kafka_brokers
    environment["EVENT_READERS"] = settings.event_readers
    environment["AUTH_MODE"] = settings.auth_mode.value
    if settings.log_format is LogFormat.AUTO:
        # The processes write into a pipe, so `auto` would choose JSON.
        environment["LOG_FORMAT"] = LogFormat.CONSOLE.value
    environment["DRAIN_S"] = str(_drain_s(settings))
    return environment


def valkey_folder(settings: Settings) -> Path:
    """Return the folder of Valkey's append-only file."""
    return settings.data_dir.resolve() / "valkey"


def postgres_folder(settings: Settings) -> Path:
    """Return the folder of PostgreSQL's data: below `DATA_DIR`, unless root runs this."""
    return postgres.folder_for(settings.data_dir.resolve() / "postgres")


def _drain_s(settings: Settings) -> float:
    return settings.drain_s if "drain_s" in settings.model_fields_set else _LOCAL_DRAIN_S
