"""One compose project: started, asked, and taken down."""

import json
import os
import re
import secrets
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

from common.config.settings import Settings
from tests.system.compose.engine import compose_command

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
        environment: settings that are said explicitly, besides the ports.
    """

    key = ""
    """API key of an operator's client; empty where nobody needs one."""

    def __init__(self, client: Any, folder: Path, files: Sequence[str], **environment: str) -> None:
        self._client = client
        self._folder = folder
        self._settings = environment
        self._files = [part for file in files for part in ("-f", file)]
        self.project = f"roomcast-test-{secrets.token_hex(4)}"
        self.port, self.ws_port = _free_ports(2)

    @property
    def ws_url(self) -> str:
        """The sockets, through HAProxy."""
        return f"ws://127.0.0.1:{self.ws_port}/"

    def up(self, *, first_client: bool) -> None:
        """Build and start it, and wait until every container is healthy.

        Args:
            first_client: whether to make one, as docs/operations/deployment.md says.
        """
        self._compose("up", "--build", "-d", timeout_s=BUILD_TIMEOUT_S)
        if first_client:
            self.key = self._make_client()
        self.wait_healthy()

    def _make_client(self) -> str:
        command = (
            "exec -T server python -m roomcast create-client --admin operations ops@example.com"
        )
        deadline = time.monotonic() + HEALTHY_TIMEOUT_S
        while True:
            try:
                return self._compose(*command.split(), timeout_s=60).splitlines()[-1]
            except RuntimeError as error:
                # PostgreSQL makes its data first.
                if "no client was made" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(1)

    def token(self, user: int, room: int) -> str:
        """A user token for a socket, empty where nobody needs one."""
        if not self.key:
            return ""
        body = {"userId": user, "rooms": [str(room)]}
        return str(self._post("/tokens", body, HTTPStatus.CREATED)["token"])

    def status(self, body: dict[str, Any]) -> int:
        """Status of a notification that is POSTed without a key."""
        try:
            with urllib.request.urlopen(self._request("/notify", body, ""), timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

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
            self.get(container, port, "/healthz")
            for service, port in ports.items()
            for container in self.containers(service)
        ]

    def notify(self, body: dict[str, Any]) -> str:
        """POST one notification; returns its id."""
        return str(self._post("/notify", body, HTTPStatus.ACCEPTED)["id"])

    def _post(self, path: str, body: dict[str, Any], status: HTTPStatus) -> dict[str, Any]:
        with urllib.request.urlopen(self._request(path, body, self.key), timeout=10) as answer:
            assert answer.status == status
            found: dict[str, Any] = json.load(answer)
            return found

    def _request(self, path: str, body: dict[str, Any], key: str) -> urllib.request.Request:
        headers = {"Content-Type": "application/json"} | ({"x-api-key": key} if key else {})
        return urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=json.dumps(body).encode(), headers=headers
        )

    def registered(self) -> list[int | None]:
        """How many sockets each gateway says it has registered; None of one that is silent."""
        return [
            _metric(self.get(item, self.ws_port, "/metrics"), "registered_connections")
            for item in self.containers("gateway")
        ]

    def get(self, container: Any, port: int, path: str) -> str:
        """What a container's process answers from inside, as an operator; empty if it doesn't."""
        headers = {"x-api-key": self.key} if self.key else {}
        code = (
            "import urllib.request as r; print(r.urlopen(r.Request("
            f"'http://127.0.0.1:{port}{path}', headers={headers}"
            "), timeout=5).read().decode())"
        )
        status, output = container.exec_run(["python", "-c", code])
        return str(output.decode()) if status == 0 else ""

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
        ours = {name.upper() for name in Settings.model_fields}
        environment = {
            **{name: value for name, value in os.environ.items() if name not in ours},
            **self._settings,
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


def _metric(exposition: str, name: str) -> int | None:
    match = re.search(rf"^roomcast_{name}(?:{{.*}})? (\S+)$", exposition, re.MULTILINE)
    return int(float(match[1])) if match else None
