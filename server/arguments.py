"""Arguments of the server: `python -m server [create-client]`.

Light, see `common.process.command_line`.
"""

import argparse

from common.auth.client_records import ALL_SCOPES, Scope
from common.process.command_line import process_parser


def read_arguments() -> argparse.Namespace:
    """Parse the command line; `command` is None where the server is to run.

    Raises:
        SystemExit: it was `--help` or `--version`, or is wrong.
    """
    parser = process_parser("server", "Serve the HTTP API on PORT, or make a client.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    create = commands.add_parser(
        "create-client",
        help="make a client and print its first key",
        description="Make a client application in the database of DATABASE_URL and print its "
        "first API key on standard output.",
    )
    create.add_argument("name", help="what people call it")
    create.add_argument("email", help="of the people who are responsible for it")
    create.add_argument(
        "--admin", action="store_true", help="its admin keys manage all clients: an operator's"
    )
    create.add_argument(
        "--scopes",
        type=_scopes,
        default=ALL_SCOPES,
        metavar="SCOPE,…",
        help=f"of the key, of {', '.join(Scope)}; all, if this is left out",
    )
    asked = parser.parse_args()
    if asked.command and asked.admin and Scope.ADMIN not in asked.scopes:
        create.error("--admin needs the scope admin among --scopes")
    return asked


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(map(Scope, text.split(",")))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no list of scopes such as notify,read"
        ) from None
