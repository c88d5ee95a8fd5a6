"""Processes of Roomcast: the one list that everything which runs or shows them follows.

A new process is a folder with a `__main__.py`, a row here, its port and its number of replicas in
`common/config/settings.py`, and a service in `compose.yaml`. `make docs` writes what other files
repeat of this list (`tools/process_lists.py`); tests compare the rest and name what is missing.
"""

from dataclasses import dataclass
from typing import Final

READY_PATH: Final = "/readyz"
"""Path on every process's port that answers 200 while it is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One kind of process.

    Attributes:
        name: its service in compose, its part in `make run`, its kind in tests.
        title: what a page calls it.
        module: package that `python -m` runs; also the name of its folder.
        port: field of `Settings` with the port that it listens on.
        replicas: field of `Settings` with the number of processes that share the port.
        switch: field of `Settings` that turns it on; empty: it always runs.
        imports: modules of other processes that it imports from.
        speaks_tls: whether its port has TLS if the settings name a certificate.
        drains: whether it takes up to `DRAIN_S` longer than others to stop.
        order: in `make run`, processes start from the lowest and stop from the highest.
        containers: number of its containers in compose.
        command: name of its command, `roomcast <command>`.
        help: what the command does, for `roomcast --help`.
        ready_if: condition for its readiness, in words, for the page on operations.
    """

    name: str
    title: str
    module: str
    port: str
    replicas: str
    switch: str = ""
    imports: tuple[str, ...] = ()
    speaks_tls: bool = False
    drains: bool = False
    order: int
    containers: int
    command: str
    help: str
    ready_if: str

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders with its code, besides `common`."""
        return (self.module, *self.imports)


PROCESSES: Final = (
    Process(
        name="server",
        title="server",
        module="server",
        port="port",
        replicas="server_processes",
        imports=("history",),
        speaks_tls=True,
        order=40,
        # More of them need something in front that shares one published port.
        containers=1,
        command="server",
        help="serve the HTTP API",
        ready_if="Redis takes what acceptance would write, is not nearly full, and the event "
        "stream has room; with `AUTH_MODE=required`, a client is known",
    ),
    Process(
        name="worker",
        title="worker",
        module="worker",
        port="worker_port",
        replicas="worker_processes",
        order=30,
        containers=2,
        command="worker",
        help="publish the jobs that wait",
        ready_if="it renewed its leases within the lease time",
    ),
    Process(
        name="gateway",
        title="gateway",
        module="ws_gateway",
        port="ws_port",
        replicas="gateway_processes",
        speaks_tls=True,
        drains=True,
        order=20,
        containers=2,
        command="gateway",
        help="deliver to sockets and event streams",
        ready_if="a probe that it published came back through its own subscription. The probe has "
        "a name of its own; no socket and no log sees it",
    ),
    Process(
        name="history",
        title="history writer",
        module="history",
        port="history_port",
        replicas="history_processes",
        switch="database_url",
        order=15,
        containers=2,
        command="history",
        help="write events to PostgreSQL",
        ready_if="Redis and PostgreSQL answer, also while another one writes",
    ),
    Process(
        name="bridge",
        title="Kafka bridge",
        module="kafka_bridge",
        port="kafka_bridge_port",
        replicas="kafka_bridge_processes",
        switch="kafka_brokers",
        order=16,
        containers=2,
        command="kafka-bridge",
        help="mirror events to Kafka, take notifications from it",
        ready_if="Redis and the brokers answer, and neither mirroring nor taking requests is in "
        "trouble",
    ),
)
"""All processes, in the order in which a notification meets them."""

FOLDERS: Final = ("common", *(process.module for process in PROCESSES))
"""Folders of the code that runs."""
