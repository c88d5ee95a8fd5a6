"""Audit of the packages that `make run` and the image install, for known vulnerabilities.

    python -m tools.audit [--required] [pip-audit's own options]

pip-audit counts a package that its service doesn't know as one without vulnerabilities, so it finds
none where the package index is a mirror without such a service. Here such packages are reported as
unknown; with `--required` they are a failure.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements/runtime.txt", "requirements/local.txt")


@dataclass(frozen=True, slots=True)
class Findings:
    """Result of an audit.

    Attributes:
        audited: number of packages that the service knows.
        unknown: names of those that it does not know.
        vulnerable: a line for each known vulnerability.
        failure: why there was no audit; empty if there was one.
    """

    audited: int = 0
    unknown: tuple[str, ...] = ()
    vulnerable: tuple[str, ...] = ()
    failure: str = ""

    @property
    def nothing_audited(self) -> bool:
        """True if the service knew none of the packages."""
        return bool(self.failure) or not self.audited


def audit(locks: Sequence[str], *options: str) -> Findings:
    """Audit every package in some lock files.

    Args:
        locks: requirements with hashes, by their paths.
        options: of pip-audit, such as another service.
    """
    named = [argument for lock in locks for argument in ("--requirement", lock)]
    done = subprocess.run(  # noqa: S603 - a program of this environment
        [
            *(sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"),
            *("--disable-pip", "--require-hashes", *named, *options),
        ],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return findings(json.loads(done.stdout)["dependencies"])
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"]
        return Findings(failure=lines[-1])


def findings(dependencies: list[dict[str, Any]]) -> Findings:
    """Read the findings in pip-audit's report.

    Args:
        dependencies: of its JSON; each has `name` and either `skip_reason`, or `version` and
            `vulns`, a list of `id` and `fix_versions`.
    """
    known = [found for found in dependencies if "skip_reason" not in found]
    return Findings(
        audited=len(known),
        unknown=tuple(found["name"] for found in dependencies if "skip_reason" in found),
        vulnerable=tuple(
            f"{found['name']} {found['version']}: {vulnerability['id']},"
            f" fixed in {', '.join(vulnerability['fix_versions']) or 'no version yet'}"
            for found in known
            for vulnerability in found["vulns"]
        ),
    )


def main() -> int:
    """Print the findings; return 1 if there are vulnerabilities or unknown packages."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.audit",
        description="Look for known vulnerabilities in the packages of the lock.",
        epilog="Other options go to pip-audit.",
        allow_abbrev=False,
    )
    parser.add_argument("--required", action="store_true", help="fail if nobody can be asked")
    asked, options = parser.parse_known_args()
    found = audit(LOCKS, *options)
    if found.nothing_audited:
        reason = found.failure or "the service knows none of the packages"
        print(f"NOT AUDITED for vulnerabilities: {reason}", file=sys.stderr)
        return int(asked.required)
    for line in found.vulnerable:
        print(line, file=sys.stderr)
    for name in found.unknown:
        print(f"{name}: unknown to the vulnerability service", file=sys.stderr)
    print(f"{found.audited} packages audited, {len(found.vulnerable)} vulnerabilities")
    return int(bool(found.vulnerable or found.unknown))


if __name__ == "__main__":
    sys.exit(main())
