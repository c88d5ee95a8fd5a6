"""Arguments of the bridge: `python -m kafka_bridge [restore --since TIME]`.

Light, see `common.process.command_line`.
"""

import argparse
from datetime import UTC, datetime

from common.process.command_line import process_parser


def read_arguments() -> argparse.Namespace:
    """Parse the command line; `command` is None where the bridge is to run.

    Raises:
        SystemExit: it was answered already, or is wrong.
    """
    parser = process_parser(
        "kafka_bridge",
        "Mirror events to the Kafka of KAFKA_BROKERS and take notifications from it; health on "
        "KAFKA_BRIDGE_PORT. Or rebuild an empty Redis from Kafka.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    restore = commands.add_parser(
        "restore",
        help="rebuild an empty Redis from the events topic",
        description="Rebuild an empty Redis from the events topic, and end.",
    )
    restore.add_argument(
        "--since",
        required=True,
        type=_unix_ms,
        metavar="TIME",
        help="RFC 3339, for instance 2026-11-21T04:00:00Z",
    )
    return parser.parse_args()


def _unix_ms(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise argparse.ArgumentTypeError(
                f"a time needs a zone, for instance 2026-11-21T04:00:00Z: {text}"
            )
        milliseconds = int(moment.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"not a time, such as 2026-11-21T04:00:00Z: {text}"
        ) from None
    if milliseconds < 0:
        raise argparse.ArgumentTypeError(f"nothing was sent before 1970: {text}")
    return milliseconds
