"""How many examples property tests draw: few by default, 20 times more with TEST_EXAMPLES=20."""

import os
from typing import Any, Final

from hypothesis import HealthCheck, settings

FACTOR: Final = float(os.environ.get("TEST_EXAMPLES", "1"))


def count(few: int) -> int:
    return max(1, int(few * FACTOR))


def examples(few: int, **more: Any) -> settings:
    """Settings of one property test; time says nothing on a busy machine, so no deadline."""
    return settings(
        max_examples=count(few),
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        **more,
    )
