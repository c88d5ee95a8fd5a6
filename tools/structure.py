"""The structure of the tree in figures, each beside its bar.

    python -m tools.structure [-v]

A room is a file or folder directly in a folder, an arrow an import between two rooms. Imports for
type checkers only are imports here: they are knowledge of one another, too. The test of the same
name holds each figure where it stands or lower.
"""

import argparse
import ast
import re
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from deploy.processes import FOLDERS

ROOT: Final = Path(__file__).parents[1]
PACKAGES: Final = (*FOLDERS, "sdk", "deploy", "tools")
MOST_ROOMS: Final = 11
NO_OPENING: Final = re.compile(r"(What|Who|Whose|Whether|How)\b")
REDIS_ERRORS: Final = re.compile(r"RedisError,\s*OSError,\s*TimeoutError")
"""Has one name and one home: `common.errors.REDIS_ERRORS`."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measure of the tree.

    Attributes:
        name: of what was counted.
        found: each thing that counts, for a reader to look up.
        bar: how many there should be at most.
    """

    name: str
    found: tuple[str, ...]
    bar: int = 0

    @property
    def value(self) -> int:
        """Number of things that were found."""
        return len(self.found)


def figures() -> list[Figure]:
    """Measure the tree of this clone."""
    return [
        Figure("circles of imports between rooms", tuple(_circles())),
        Figure("rules on imports, layers among them, that are broken", tuple(_broken_rules())),
        Figure(f"folders with more than {MOST_ROOMS} rooms", tuple(_full_folders())),
        Figure("class names that are defined twice", tuple(_names_of_two_classes())),
        Figure("docstrings that open with What, Who, Whether or How", tuple(_odd_openings())),
        Figure("places that list the errors of Redis", tuple(_lists_of_errors())),
        Figure("modules without a test module of their own", tuple(_modules_without_tests())),
    ]


def _circles() -> Iterator[str]:
    for folder in _folders():
        arrows = _arrows(folder)
        for circle in _strongly_connected(arrows):
            yield f"{folder.relative_to(ROOT)}: {', '.join(sorted(circle))}"


def _broken_rules() -> Iterator[str]:
    """Ask import-linter, in a process of its own: it sets up logging for the whole process."""
    program = Path(sys.executable).with_name("lint-imports")
    said = subprocess.run(  # noqa: S603
        [program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    broken = said.stdout.partition("Broken contracts")[2].splitlines()
    if said.returncode and not broken:
        yield said.stderr.strip() or said.stdout.strip()
    for line in broken:
        if line.startswith("- "):
            yield line.removeprefix("- ")


def _full_folders() -> Iterator[str]:
    for folder in _folders():
        count = len(_rooms(folder))
        if count > MOST_ROOMS:
            yield f"{folder.relative_to(ROOT)}: {count}"


def _names_of_two_classes() -> Iterator[str]:
    places: dict[str, list[str]] = defaultdict(list)
    for path in _modules():
        if path.is_relative_to(ROOT / "sdk"):
            # It knows nothing of the rest, and its users nothing of that.
            continue
        for node in ast.walk(_tree(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")
    for name, found in sorted(places.items()):
        if len(found) > 1:
            yield f"{name}: {', '.join(found)}"


def _odd_openings() -> Iterator[str]:
    for path in _modules():
        for node in ast.walk(_tree(path)):
            if not isinstance(
                node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
            ):
                continue
            text = ast.get_docstring(node)
            if text and NO_OPENING.match(text):
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def _lists_of_errors() -> Iterator[str]:
    for path in _modules():
        text = path.read_text()
        for match in REDIS_ERRORS.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            yield f"{path.relative_to(ROOT)}:{line}"


def _modules_without_tests() -> Iterator[str]:
    """Find the modules without a test module of their own.

    Its own is `test_NAME.py` in the same place below `tests/unit`, or, if it takes real parts to
    test it, a `test_NAME.py` elsewhere below `tests` that imports it or says its path. Of a module
    that only has protocols nothing ever runs: mypy compares them with what is given for them.
    """
    elsewhere: dict[str, list[str]] = defaultdict(list)
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "unit" not in path.relative_to(ROOT / "tests").parts[:1]:
            elsewhere[path.name].append(path.read_text())
    for path in _modules():
        relative = path.relative_to(ROOT)
        if path.stem.startswith("__") or relative.parts[0] in {"deploy", "sdk", "tools"}:
            continue
        if relative.is_relative_to("history/schema/versions") or relative.stem == "env":
            # Steps that ran once and never change, and Alembic's entry: test_migrate runs all.
            continue
        if _has_protocols_only(path):
            continue
        name = f"test_{path.name}"
        if (ROOT / "tests" / "unit" / relative.parent / name).exists():
            continue
        says = (str(relative), str(relative.with_suffix("")).replace("/", "."))
        if not any(said in text for text in elsewhere[name] for said in says):
            yield str(relative)


def _has_protocols_only(path: Path) -> bool:
    """Return whether all classes of a module are protocols, and it has no functions."""
    tops = [node for node in _tree(path).body if not isinstance(node, ast.Import | ast.ImportFrom)]
    classes = [node for node in tops if isinstance(node, ast.ClassDef)]
    has_functions = any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) for node in tops)
    return bool(classes) and not has_functions and all(map(_is_protocol, classes))


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases)


@cache
def _modules() -> tuple[Path, ...]:
    return tuple(
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if "__pycache__" not in path.parts
    )


def _folders() -> list[Path]:
    return sorted({path.parent for path in _modules()})


def _rooms(folder: Path) -> set[str]:
    files = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    return files | {found.parent.name for found in folder.glob("*/__init__.py")}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


@cache
def _imports(path: Path) -> frozenset[str]:
    """Collect the dotted names of all imports of a module, of members as well as of modules."""
    names: set[str] = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(names)


def _arrows(folder: Path) -> dict[str, set[str]]:
    """Map each room of a folder to the rooms that it imports."""
    prefix = ".".join(folder.relative_to(ROOT).parts) + "."
    rooms = _rooms(folder)
    arrows: dict[str, set[str]] = {room: set() for room in rooms}
    for path in _modules():
        if folder not in path.parents:
            continue
        inner = path.relative_to(folder)
        room = inner.parts[0].removesuffix(".py")
        for name in _imports(path):
            if room in rooms and name.startswith(prefix):
                other = name.removeprefix(prefix).partition(".")[0]
                if other in rooms and other != room:
                    arrows[room].add(other)
    return arrows


def _strongly_connected(arrows: Mapping[str, Iterable[str]]) -> Iterator[set[str]]:
    """Yield the sets of several rooms that all reach one another."""
    reached = {room: _reachable(room, arrows) for room in arrows}
    left = set(arrows)
    while left:
        room = left.pop()
        circle = {other for other in left if other in reached[room] and room in reached[other]}
        if circle:
            yield circle | {room}
            left -= circle


def _reachable(room: str, arrows: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    todo = [room]
    while todo:
        for other in arrows[todo.pop()]:
            if other not in found:
                found.add(other)
                todo.append(other)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Print the figures, and with -v each thing that counts.

    Returns:
        Exit status: 1 if a figure is past its bar.
    """
    parser = argparse.ArgumentParser(prog="python -m tools.structure", description=__doc__)
    parser.add_argument("-v", "--verbose", action="store_true", help="list what was counted")
    wanted = parser.parse_args(arguments)
    lines = Counter(path.relative_to(ROOT).parts[0] for path in _modules())
    print(", ".join(f"{package} {count}" for package, count in lines.items()), "modules")
    measured = figures()
    for figure in measured:
        print(f"{figure.value:>5}  {figure.name} (bar: {figure.bar})")
        if wanted.verbose:
            for line in figure.found:
                print(f"         {line}")
    return int(any(figure.value > figure.bar for figure in measured))


if __name__ == "__main__":
    sys.exit(main())
