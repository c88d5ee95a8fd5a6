"""Garbage-collection thresholds for long-lived processes."""

import gc
from typing import Final

EVERY_OBJECTS: Final = 10_000


def collect_seldom(every_objects: int = EVERY_OBJECTS) -> None:
    """Exclude the objects that exist by now from all collections, and collect less often.

    By default there is one with every 700 objects, and objects in use at that moment soon count as
    old. Scanning all old objects again and again costs the server microseconds of each POST, and
    held the gateway up for tens of milliseconds during a storm of clients.

    Args:
        every_objects: growth in objects that starts the next collection.
    """
    gc.freeze()
    gc.set_threshold(every_objects, 20, 50)
