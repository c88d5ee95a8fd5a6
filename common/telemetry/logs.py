"""Log lines: one JSON object each, or readable text on a terminal."""

import logging
import sys
from typing import Final

from pythonjsonlogger.json import JsonFormatter

from common.config.settings import LogFormat, Settings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({})))


class _ConsoleFormatter(logging.Formatter):
    """Time, process, level, text, and the extra fields as name=value."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process:<9} %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = {
            k: v for k, v in vars(record).items() if k not in _STANDARD | {"message", "asctime"}
        }
        return line + "".join(f"  {name}={value}" for name, value in extra.items())


def set_up_logs(settings: Settings, process: str) -> None:
    """Write the logs of this process to stdout.

    Args:
        settings: level and format.
        process: name that every line carries, for instance `gateway.2`.
    """
    handler = logging.StreamHandler(sys.stdout)
    chosen = settings.log_format
    if chosen is LogFormat.CONSOLE or (chosen is LogFormat.AUTO and sys.stdout.isatty()):
        handler.setFormatter(_ConsoleFormatter(process))
    else:
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s",
                rename_fields={"levelname": "level", "name": "logger"},
                static_fields={"process": process},
                timestamp=True,
            )
        )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
