"""How much of a busy machine a process takes from the others on it."""

import os


def yield_to_others(niceness: int) -> None:
    """Take the processor only in so far as others leave it, in this thread and those it starts.

    Args:
        niceness: from 0 (like everybody) to 19; see nice(2). One that is higher already stays.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
