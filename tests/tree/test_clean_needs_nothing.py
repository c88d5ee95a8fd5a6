"""`make clean` works when nothing is installed: its modules import the standard library only."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def test_clean_is_imported_without_any_package() -> None:
    # Isolated and without site-packages; only the clone is on the path.
    program = f"import sys; sys.path[:0] = [{str(PROJECT)!r}]; import deploy.local.clean"
    ran = subprocess.run([sys.executable, "-ISc", program], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
