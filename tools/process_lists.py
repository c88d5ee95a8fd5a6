"""Generator of the lists that other files repeat of `deploy/processes.py`.

`python -m tools.process_lists` writes each between its two markers, such as

    # processes:begin folders
    # processes:end

A test checks that all of them are there and up to date.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from common.config.settings import Settings
from deploy.processes import FOLDERS, PROCESSES

ROOT: Final = Path(__file__).resolve().parents[1]

_MODULES: Final = [process.module for process in PROCESSES]
_INSTALLED: Final = sorted((*FOLDERS, "roomcast"))
"""Folders of a release: of the processes, and of the command in front of them."""
_IMPORTED: Final = {module for process in PROCESSES for module in process.imports}
_MARKED: Final = re.compile(
    r"(?P<begin>[ ]*(?:#|<!--) processes:begin (?P<kind>[a-z-]+)[^\n]*\n)"
    r".*?"
    r"(?P<end>[ ]*(?:#|<!--) processes:end)",
    re.DOTALL,
)


def _copies() -> str:
    return "".join(f"COPY {folder} {folder}\n" for folder in _INSTALLED)


def _exposed() -> str:
    names = [process.port.upper() for process in PROCESSES]
    ports = " ".join(str(Settings.model_fields[process.port].default) for process in PROCESSES)
    return f"# {', '.join(names[:-1])} and {names[-1]}, unless set otherwise.\nEXPOSE {ports}\n"


def _not_ignored() -> str:
    return "".join(f"!{folder}\n" for folder in _INSTALLED)


def _mounts() -> str:
    return "".join(f"    - ./{folder}:/app/{folder}:ro\n" for folder in _INSTALLED)


def _development_services() -> str:
    services = []
    for process in PROCESSES:
        watched = ", ".join(f'"{folder}"' for folder in ("common", *process.folders))
        services.append(
            f"  {process.name}:\n"
            "    <<: *dev\n"
            f'    command: ["watchfiles", "--filter", "python", "python -m {process.module}", '
            f"{watched}]\n"
        )
    return "\n".join(services)


def _strings(names: list[str]) -> Callable[[], str]:
    return lambda: "".join(f'    "{name}",\n' for name in names)


def _places() -> str:
    return "".join(f'"{folder}" = "roomcast/parts/{folder}"\n' for folder in sorted(FOLDERS))


def _commands() -> str:
    return "".join(
        f'    Command("{process.command}", "{process.module}", "{process.help}"),\n'
        for process in PROCESSES
    )


def _operations() -> str:
    lines = ["| process | starts with | port | is ready if |", "| --- | --- | --- | --- |"]
    for process in PROCESSES:
        port = f"`{process.port.upper()}` ({Settings.model_fields[process.port].default})"
        cells = (process.title, f"`python -m {process.module}`", port, process.ready_if)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join((*lines, ""))


LISTS: Final[Mapping[str, Mapping[str, Callable[[], str]]]] = {
    "deploy/docker/Dockerfile": {"copies": _copies, "ports": _exposed},
    ".dockerignore": {"folders": _not_ignored},
    "compose.override.yaml": {"mounts": _mounts, "services": _development_services},
    "roomcast/command.py": {"commands": _commands},
    "docs/operations/index.md": {"table": _operations},
    "pyproject.toml": {
        "places": _places,
        "folders": _strings(sorted(FOLDERS)),
        "modules": _strings(sorted(_MODULES)),
        "importing-none": _strings(
            sorted(process.module for process in PROCESSES if not process.imports)
        ),
        "imported-by-none": _strings(sorted(set(_MODULES) - _IMPORTED)),
    },
}
"""Renderers of the lists, by file and by the word in the marker."""


def replace(text: str, renderers: Mapping[str, Callable[[], str]]) -> str:
    """Put the lists between their markers in a text.

    Raises:
        ValueError: a kind of list has no place, or a marker names none.
    """
    found = {match["kind"] for match in _MARKED.finditer(text)}
    if found != set(renderers):
        raise ValueError(f"expected markers of {sorted(renderers)}, found {sorted(found)}")
    return _MARKED.sub(
        lambda match: match["begin"] + renderers[match["kind"]]() + match["end"], text
    )


def main() -> None:
    """Write all lists."""
    for name, renderers in LISTS.items():
        path = ROOT / name
        path.write_text(replace(path.read_text(), renderers))


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m tools.process_lists", description=__doc__).parse_args()
    main()
