"""`python -m loadtests.run_load`: locust, headless; it prints latency percentiles.

It loads the stack of `make run` if one answers on the ports of the settings; otherwise it starts
one of its own on free ports and stops it again. Options that it does not know go to locust, for
instance `--users 500 --run-time 2m`.
"""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.config.loading import load_settings
from loadtests.processes import ROOT, Processes, StartError, answers_ok, raise_open_files
from loadtests.stack import Cores, roomcast

REPORT: Final = ROOT / "loadtests" / "results" / "load.html"
LOCUSTFILE: Final = ROOT / "loadtests" / "locustfile.py"
LOCUST: Final = Path(sys.executable).parent / "locust"


@contextlib.contextmanager
def stack(own: bool) -> Iterator[tuple[str, str]]:
    """Yield the URLs of HTTP and of WebSocket, of a running stack or of one started here.

    Raises:
        StartError: the own stack does not become ready.
        SystemExit: a setting is refused.
    """
    settings = load_settings()
    if (
        not own
        and answers_ok(settings.port, "/readyz")()
        and answers_ok(settings.ws_port, "/readyz")()
    ):
        yield f"http://127.0.0.1:{settings.port}", f"ws://127.0.0.1:{settings.ws_port}/"
        return
    sys.stdout.write("No stack answers: starting one on free ports.\n")
    sys.stdout.flush()
    with Processes() as processes, roomcast(processes, Cores()) as started:
        started.warm_up()
        yield started.http_url, started.ws_url


def run_locust(http_url: str, ws_url: str, extra: list[str]) -> int:
    """Run locust and return its exit status (1: a request failed)."""
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    argv = [str(LOCUST), "-f", str(LOCUSTFILE), "--headless", "--only-summary"]
    argv += ["--host", http_url, "--ws-url", ws_url, "--html", str(REPORT)]
    return subprocess.run([*argv, *extra], cwd=ROOT, check=False).returncode


def main() -> int:
    """Run it; the exit status is locust's."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.run_load", description=__doc__)
    parser.add_argument("--own", action="store_true", help="start a stack even if one answers")
    options, extra = parser.parse_known_args()
    raise_open_files()
    try:
        with stack(options.own) as (http_url, ws_url):
            status = run_locust(http_url, ws_url, extra)
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"report: {REPORT}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
