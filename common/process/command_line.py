"""Command line of every process: `--help`, `--version`, and an error for everything else.

A process imports this and reads its arguments before its other imports, which take a second, so
this module and what it imports stay light.
"""

import argparse
import sys
from typing import Final

from common.config.version import VERSION

REPLICA_FLAG: Final = "--replica"
"""Flag with which a parent starts a replica: its number, and a pipe that ends with the parent."""
_SETTINGS: Final = (
    "Settings come from the environment first and from .env second; "
    "docs/reference/settings.md lists them. "
    "Exit status: 0 stopped, 1 it can't run, 2 wrong arguments or settings."
)


def command_parser(module: str, duty: str) -> argparse.ArgumentParser:
    """Make a parser that knows `--help` and `--version`.

    Args:
        module: the argument of `python -m`.
        duty: the purpose of the process, in one or two sentences.
    """
    # The `roomcast` command passes the name that it was called by.
    by_name = sys.argv[0].split(" ")[0] == "roomcast"
    called = sys.argv[0] if by_name else f"python -m {module}"
    parser = argparse.ArgumentParser(
        prog=called, description=duty, epilog=_SETTINGS, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"roomcast {VERSION}")
    return parser


def process_parser(module: str, duty: str) -> argparse.ArgumentParser:
    """Make the parser of a process that may run as several replicas."""
    parser = command_parser(module, duty)
    parser.add_argument(REPLICA_FLAG, nargs=2, type=int, help=argparse.SUPPRESS)
    return parser
