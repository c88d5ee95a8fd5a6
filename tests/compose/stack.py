"""One compose project: started, asked, and taken down."""

import json
import os
import re
import secrets
import socket
import subprocess
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.compose.engine import compose_command

SERVICES = {
    "valkey": 1,
    "postgres": 1,
    "server": 1,
    "worker": 2,
    "gateway": 2,
    "history": 2,
    "kafka": 1,
    "bridge": 2,
    "haproxy": 1,
}
BUILD_TIMEOUT_S = 600
HEALTHY_TIMEOUT_S = 120
WORKER_PORT = 8082
# One tag for every run, so that a build finds the layers of the one before.
IMAGE_TAG = "compose-test"


class Stack:
    """A compose project of its own name, on host ports that nobody uses.

    Args:
        client: of the `docker` package.
        folder: where the compose files are.
        files: names of the compose files.
    """

    def __init__(self, client: Any, folder: Path, files: Sequence[str]) -> None:
        self._client = client
        self._folder = folder
        self._files = [part for file in files for part in ("-f", file)]
        self.project = f"roomcast-test-{secrets.token_hex(4)}"
        self.port, self.ws_port = _free_ports(2)

    @property
    def ws_url(self) -> str:
        """The sockets, through HAProxy."""
        return f"ws://127.0.0.1:{self.ws_port}/"

    def up(self) -> None:
        """Build and start it, and wait until every container is healthy."""
        self._compose("up", "--build", "-d", timeout_s=BUILD_TIMEOUT_S)
        self.wait_healthy()

    def down(self) -> None:
        """Remove its containers, networks and volumes."""
        self._compose("down", "-v", "--remove-orphans", "--timeout", "5", timeout_s=120)

    def wait_healthy(self) -> None:
        """Wait until as many containers as there should be are healthy.

        Raises:
            TimeoutError: with their states and last log lines.
        """
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        while time.monotonic() < deadline:
            containers = self.containers()
            health = [item.attrs["State"].get("Health", {}).get("Status") for item in containers]
            if health == ["healthy"] * sum(SERVICES.values()):
                return
            time.sleep(0.5)
        states = {item.name: item.status for item in self.containers()}
        raise TimeoutError(f"not healthy: {states}\n{self.logs()}")

    def containers(self, service: str | None = None) -> list[Any]:
        """Its containers, or those of one service, stopped ones included, by name."""
        labels = [f"com.docker.compose.project={self.project}"]
        if service:
            labels.append(f"com.docker.compose.service={service}")
        found = self._client.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda container: str(container.name))

    def logs(self) -> str:
        """The last lines of every container."""
        return self._compose("logs", "--no-color", "--tail", "20", timeout_s=30)

    def healthz(self) -> list[str]:
        """What every process says at `/healthz`; nothing while it starts."""
        ports = {"server": self.port, "worker": WORKER_PORT, "gateway": self.ws_port}
        return [
            _get(container, port, "/healthz")
            for service, port in ports.items()
            for container in self.containers(service)
        ]

    def notify(self, body: dict[str, Any]) -> str:
        """POST one notification; returns its id."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/notify",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 202
            return str(json.load(answer)["id"])

    def registered(self) -> list[int | None]:
        """How many sockets each gateway says it has registered; None of one that is silent."""
        return [
            _metric(_get(item, self.ws_port, "/metrics"), "registered_connections")
            for item in self.containers("gateway")
        ]

    def crash(self, container: Any) -> None:
        """SIGKILL a container's process as a crash would: not by Docker, which then restarts it."""
        container.reload()
        pid = container.attrs["State"]["Pid"]
        self._client.containers.run(
            container.image.id,
            ["python", "-c", f"import os; os.kill({pid}, 9)"],
            pid_mode="host",
            user="0",
            network_disabled=True,
            remove=True,
        )

    def _compose(self, *arguments: str, timeout_s: float) -> str:
        command = compose_command()
        assert command is not None
        environment = {
            **os.environ,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WS_PORT": str(self.ws_port),
            "IMAGE_TAG": IMAGE_TAG,
            "WORKER_PORT": str(WORKER_PORT),
            # Nobody here waits for ten seconds until a gateway has drained.
            "DRAIN_S": "1",
        }
        done = subprocess.run(
            [*command, "-p", self.project, *self._files, *arguments],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"compose {arguments[0]} failed:\n{done.stdout[-4000:]}")
        return done.stdout


def _free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [item.getsockname()[1] for item in sockets]
    for item in sockets:
        item.close()
    return ports


def _get(container: Any, port: int, path: str) -> str:
    url = f"http://127.0.0.1:{port}{path}"
    code = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=5).read().decode())"
    status, output = container.exec_run(["python", "-c", code])
    return str(output.decode()) if status == 0 else ""


def _metric(exposition: str, name: str) -> int | None:
    match = re.search(rf"^roomcast_{name}(?:{{.*}})? (\S+)$", exposition, re.MULTILINE)
    return int(float(match[1])) if match else None
