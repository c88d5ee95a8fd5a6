"""Raise the limit of open files: every connection is one."""

import logging
import resource
from typing import Final

log = logging.getLogger("roomcast.gateway")

RESERVED: Final = 64


def raise_open_files(wanted_connections: int, *, asked_for: bool = True) -> int:
    """Raise the soft limit as far as it goes and is needed.

    Args:
        wanted_connections: how many shall fit.
        asked_for: whether somebody set that number; a default is no reason for a warning.

    Returns:
        How many connections fit. The log says so if they are fewer than wanted.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted_connections + RESERVED
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    fits = wanted_connections if soft == resource.RLIM_INFINITY else soft - RESERVED
    if fits < wanted_connections:
        log.log(
            logging.WARNING if asked_for else logging.INFO,
            "the limit of open files allows fewer connections than MAX_CONNECTIONS",
            extra={"fits": fits, "wanted": wanted_connections, "hard_limit": hard},
        )
        return fits
    return wanted_connections
