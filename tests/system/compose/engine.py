"""Docker on this machine: its engine, its compose command, and the base images."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import docker
import docker.errors

from tests.support.skips import skip_or_fail

ROOT = Path(__file__).resolve().parents[3]
STAND_INS = ROOT / "deploy/docker/stand-in-images"
# Puts them into the places of the public images.
STAND_INS_FILE = "deploy/docker/stand-ins.yaml"
# debootstrap, three images, and Docker itself, on a slow machine.
STAND_INS_TIMEOUT_S = 900


def compose_command() -> list[str] | None:
    """`docker compose` where it is installed, else docker-compose 1.29, else None."""
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            return ["docker", "compose"]
    return ["docker-compose"] if shutil.which("docker-compose") else None


def start_engine() -> Any:
    """A client of a Docker engine that answers; started, or even installed, where none does."""
    client = _client()
    if client is None or compose_command() is None:
        _stand_in("engine")
        client = client or _client()
    if client is None or compose_command() is None:
        skip_or_fail("no Docker engine, or no compose command, could be started")
    return client


def provide_base_images(client: Any) -> list[str]:
    """Pull the base images that aren't here; stand-ins for all of them where one can't be had.

    Returns:
        What has to join the compose files.
    """
    try:
        for image in base_images().values():
            try:
                client.images.get(image)
            except docker.errors.ImageNotFound:
                client.images.pull(image)
    except docker.errors.APIError:
        for kind in base_images():
            _stand_in(kind)
        return [STAND_INS_FILE]
    return []


def base_images() -> dict[str, str]:
    """What the Dockerfiles and compose.yaml start from, by the kind that stand-in-images knows."""
    sources = {
        "python": ("deploy/docker/Dockerfile", r"^ARG PYTHON_IMAGE=(python:\S+)$"),
        "haproxy": ("deploy/haproxy/Dockerfile", r"^ARG HAPROXY_IMAGE=(haproxy:\S+)$"),
        "valkey": ("compose.yaml", r"^ +image: (valkey\S+)$"),
        "kafka": ("compose.yaml", r"^ +image: (apache/kafka\S+)$"),
        "postgres": ("compose.yaml", r"^ +image: (postgres\S+)$"),
    }
    found = {
        kind: re.search(pattern, (ROOT / path).read_text(), re.MULTILINE)
        for kind, (path, pattern) in sources.items()
    }
    return {kind: match[1] for kind, match in found.items() if match}


def _client() -> Any:
    # The package would leave a socket open for each engine that it doesn't reach.
    if not shutil.which("docker"):
        return None
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode != 0:
        return None
    try:
        return docker.from_env(timeout=120)
    except docker.errors.DockerException as error:
        skip_or_fail(f"the docker command reaches an engine, the docker package doesn't: {error}")


def _stand_in(kind: str) -> None:
    done = subprocess.run(
        [STAND_INS, kind],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=STAND_INS_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        skip_or_fail(f"{STAND_INS.name} {kind}: {done.stdout.strip()[-500:]}")
