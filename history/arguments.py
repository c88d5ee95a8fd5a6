"""Arguments of the history writer: `python -m history [migrate]`.

Light, see `common.process.command_line`.
"""

import argparse

from common.process.command_line import process_parser


def read_arguments() -> argparse.Namespace:
    """Parse the command line; `command` is None where the writer is to run.

    Raises:
        SystemExit: it was answered already, or is wrong.
    """
    parser = process_parser(
        "history", "Write events to the PostgreSQL of DATABASE_URL; health on HISTORY_PORT."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser(
        "migrate",
        help="bring the database to this version's tables, and end",
        description="Bring the database to this version's tables, and end. The writer does so "
        "by itself when it starts.",
    )
    return parser.parse_args()
