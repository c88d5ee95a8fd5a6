"""What a test does where something it needs isn't there: skip for a developer, fail in CI."""

import os
import shutil
from typing import NoReturn

import pytest


def in_ci() -> bool:
    """Return whether CI runs the tests, where everything that they need must be there."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test that runs, with a reason; in CI, where nobody would notice, fail it."""
    if in_ci():
        pytest.fail(f"CI must have what this test needs: {reason}", pytrace=False)
    pytest.skip(reason)


def need_programs(*names: str, why: str) -> None:
    """Skip or fail the test that runs unless programs are on the PATH."""
    if missing := [name for name in names if shutil.which(name) is None]:
        skip_or_fail(f"{why} needs {' and '.join(missing)} on the PATH")
