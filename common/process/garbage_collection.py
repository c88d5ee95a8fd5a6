"""How seldom Python looks for cycles of objects that nothing else refers to."""

import gc
from typing import Final

EVERY_OBJECTS: Final = 10_000


def collect_seldom(every_objects: int = EVERY_OBJECTS) -> None:
    """Leave out of all collections what the process is built of by now, and collect less often.

    By default there is one with every 700 objects, and what is under way at that moment counts as
    old soon. To look at all that is old again and again costs the server microseconds of each POST,
    and held the gateway up for tens of milliseconds during a storm of clients.

    Args:
        every_objects: so many more objects than there were bring the next collection.
    """
    gc.freeze()
    gc.set_threshold(every_objects, 20, 50)
