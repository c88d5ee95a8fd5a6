"""Niceness: processes give way to others on a busy machine."""

import os


def yield_to_others(niceness: int) -> None:
    """Give way to other processes, in this thread and those that it starts.

    Args:
        niceness: from 0 (as usual) to 19; see nice(2). If it is higher already, it stays.
    """
    if os.getpriority(os.PRIO_PROCESS, 0) < niceness:
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
