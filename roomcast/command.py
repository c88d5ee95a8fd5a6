"""`roomcast COMMAND …`: finds the module that a command stands for, and becomes it."""

import argparse
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PARTS: Final = Path(__file__).parent / "parts"
"""Folder of the processes in an installed Roomcast; a clone has them beside `roomcast/`."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    Attributes:
        name: what is typed.
        module: what `python -m` would be given.
        help: what it does.
        arguments: put in front of those that are typed.
    """

    name: str
    module: str
    help: str
    arguments: tuple[str, ...] = ()


COMMANDS: Final = (
    # processes:begin commands (made by `make docs`)
    Command("server", "server", "serve the HTTP API"),
    Command("worker", "worker", "publish the jobs that wait"),
    Command("gateway", "ws_gateway", "deliver to sockets and event streams"),
    Command("history", "history", "write events to PostgreSQL"),
    Command("kafka-bridge", "kafka_bridge", "mirror events to Kafka, take notifications from it"),
    # processes:end
    Command("create-client", "server", "make a client and its first API key", ("create-client",)),
    Command("dead-letters", "worker.dead_letters", "list, put back or drop dead letters"),
    Command("migrate", "history", "bring the database to this version's tables", ("migrate",)),
    Command("restore", "kafka_bridge", "rebuild an empty Redis from Kafka", ("restore",)),
)


def main() -> None:
    """Run the command that the command line names.

    Raises:
        SystemExit: the command's own, or: the command line was answered, or is wrong.
    """
    if PARTS.is_dir():
        # In front, as somebody else may have installed a `common` or a `server`.
        sys.path.insert(0, str(PARTS))
    commands = {command.name: command for command in COMMANDS}
    chosen = commands.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if chosen is None:
        parser = _parser()
        if len(sys.argv) == 1:
            parser.print_help(sys.stderr)
            sys.exit(2)
        parser.parse_args()
        return
    # What follows in `arguments` is part of what the command calls itself.
    name = "roomcast" if chosen.arguments else f"roomcast {chosen.name}"
    sys.argv = [name, *chosen.arguments, *sys.argv[2:]]
    runpy.run_module(chosen.module, run_name="__main__", alter_sys=False)


def _parser() -> argparse.ArgumentParser:
    # Only now, when it can be found.
    from common.config.version import VERSION

    width = max(len(command.name) for command in COMMANDS)
    parser = argparse.ArgumentParser(
        prog="roomcast",
        usage="roomcast [-h] [--version] COMMAND ...",
        description="Real-time notifications: POST once, every socket gets it once, in order.",
        epilog="commands:\n"
        + "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
        + "\n\n`roomcast COMMAND --help` tells more. Settings come from the environment first and\n"
        "from .env second.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"roomcast {VERSION}")
    parser.add_argument(
        "command", choices=[command.name for command in COMMANDS], help=argparse.SUPPRESS
    )
    return parser
