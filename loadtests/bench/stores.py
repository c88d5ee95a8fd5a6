"""The database and the broker that `make run` has, for the rows that need them."""

import contextlib
import shutil
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.config.settings import Settings
from deploy.local.parts import yielding
from deploy.local.stores import postgres
from deploy.local.stores.kafka import kafka_command
from loadtests.processes import ROOT, Processes, accepts, free_port, wait_until

_ANSWER_TIMEOUT_S: Final = 1


@contextlib.contextmanager
def database(processes: Processes, core: int | None = None) -> Iterator[int]:
    """Run PostgreSQL with fsync and yield its port.

    Raises:
        StartError: it does not serve.
    """
    port = free_port()
    folder = postgres.folder_for(processes.scratch / "postgres")
    argv = yielding(Settings(), postgres.command(folder, port))
    try:
        with processes.running("postgres", argv, core, {"PYTHONPATH": str(ROOT)}) as process:
            wait_until(accepts(port), process)
            yield port
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def tansu(processes: Processes, core: int | None = None) -> Iterator[str]:
    """Run Tansu, in memory, and yield its address.

    Raises:
        StartError: it does not serve.
    """
    port = free_port()
    brokers = f"127.0.0.1:{port}"
    argv = yielding(Settings(), kafka_command(port, host="127.0.0.1"))
    with processes.running("tansu", argv, core) as process:

        def answers() -> bool:
            admin = AdminClient({"bootstrap.servers": brokers, "log_level": 0})
            try:
                admin.list_topics(timeout=_ANSWER_TIMEOUT_S)
            except KafkaException:
                return False
            return True

        wait_until(answers, process)
        yield brokers
