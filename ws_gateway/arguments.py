"""Arguments of the gateway. Light, see `common.process.command_line`."""

import argparse

from common.process.command_line import process_parser


def read_arguments() -> argparse.Namespace:
    """Parse the command line.

    Raises:
        SystemExit: it was answered already, or is wrong.
    """
    return process_parser(
        "ws_gateway", "Deliver notifications to the sockets and event streams on WS_PORT."
    ).parse_args()
