"""Arguments of the worker, and of the command line of the dead letters.

Light, see `common.process.command_line`.
"""

import argparse

from common.process.command_line import command_parser, process_parser


def read_arguments() -> argparse.Namespace:
    """Parse the worker's command line.

    Raises:
        SystemExit: it was answered already, or is wrong.
    """
    return process_parser(
        "worker", "Publish the jobs that wait in Redis; health on WORKER_PORT."
    ).parse_args()


def read_dead_letters_arguments() -> argparse.Namespace:
    """Parse the command line of the dead letters: `command`, `entry`, `all`.

    Raises:
        SystemExit: it was answered already, or is wrong.
    """
    parser = command_parser(
        "worker.dead_letters", "List the jobs that could not be published, put them back, or drop."
    )
    parser.set_defaults(entry=[], all=False)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    commands.add_parser("list", help="one JSON object per line, oldest first")
    for name, text in (("requeue", "put back into their lanes"), ("drop", "delete for good")):
        command = commands.add_parser(name, help=text)
        command.add_argument("entry", nargs="*", help="entry id, as `list` shows it")
        command.add_argument("--all", action="store_true", help="every dead letter there is")
    options = parser.parse_args()
    if options.command != "list" and not options.entry and not options.all:
        parser.error("name entries, or say --all")
    return options
