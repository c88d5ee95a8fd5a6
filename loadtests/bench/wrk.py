"""wrk, driving `POST /notify` over 64 connections."""

import re
import subprocess
from typing import Final

from loadtests.bench.fanout_peers import PEERS, program
from loadtests.bench.load import CLIENT_CORE, LoadError

CONNECTIONS: Final = 64
_GRACE_S: Final = 30


def post_notify(port: int, secs: int, header: str | None = None) -> tuple[int, float]:
    """Send for a while; every request must be answered with 2xx.

    Args:
        port: of a server, or of a peer in its place.
        secs: how long.
        header: one more header of every request, such as `x-api-key: …`.

    Returns:
        How many requests were answered, and how many a second.

    Raises:
        MissingError: wrk isn't installed.
        LoadError: one was refused, or wrk failed.
    """
    argv = ["taskset", "-c", str(CLIENT_CORE), program("wrk"), "-t1", f"-c{CONNECTIONS}"]
    argv += [f"-d{secs}s", "-s", str(PEERS / "post.lua")]
    argv += ["-H", header] if header else []
    argv += [f"http://127.0.0.1:{port}/notify"]
    out = subprocess.run(
        argv, capture_output=True, text=True, timeout=secs + _GRACE_S, check=False
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise LoadError(f"wrk saw errors: {out[-300:]}")
    answered = re.search(r"(\d+) requests in", out)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", out)
    if not answered or not rate:
        raise LoadError(f"wrk printed {out[-300:]!r}")
    return int(answered[1]), float(rate[1])
