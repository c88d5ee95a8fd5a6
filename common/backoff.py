"""How long to wait before trying again."""

import random
from collections.abc import Iterator


def jittered(first_s: float = 0.05, longest_s: float = 2.0) -> Iterator[float]:
    """Seconds to wait before each next try: exponential, each drawn from half to the whole.

    Jitter keeps processes that lost the same server from coming back in step.
    """
    wait = first_s
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - not for secrets
        wait = min(wait * 2, longest_s)
