import ast
import asyncio
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import exceptions

from common import errors
from common.errors import REDIS_ERRORS

PROJECT = Path(__file__).parents[3]
FOLDERS = ("common", "server", "worker", "ws_gateway", "history", "kafka_bridge", "deploy", "tools")
BUILT_IN = {
    name
    for name, found in vars(builtins).items()
    if isinstance(found, type) and issubclass(found, BaseException)
}


def _exceptions() -> Iterator[tuple[str, str, str]]:
    """Yield module, name and first base of each class of ours that is an exception."""
    bases = {}
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and node.bases:
                    bases[node.name] = (module, ast.unparse(node.bases[0]))
    for name, (module, base) in bases.items():
        above = base
        while above in bases:
            above = bases[above][1]
        if above.endswith(("Error", "Exception")):
            yield module, name, base


def test_every_exception_of_ours_has_the_one_base() -> None:
    odd = [f"{module}.{name}({base})" for module, name, base in _exceptions() if base in BUILT_IN]
    assert odd == [
        "common.errors.RoomcastError(Exception)",
        # Used when nothing is installed.
        "deploy.local.supervision.running_stacks.InUseError(Exception)",
    ]


def test_the_tree_of_exceptions_is_the_one_that_is_printed() -> None:
    printed, above = set(), ["RoomcastError"]
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"    ([│ ]*)[├└]── (\w+)(?: \(([\w.]+)\))?", line):
            depth = 1 + len(found[1]) // 4
            printed.add((found[3] or "common.errors", found[2], above[depth - 1]))
            above[depth:] = [found[2]]
    assert printed == {
        found for found in _exceptions() if found[1] not in ("RoomcastError", "InUseError")
    }


@pytest.mark.parametrize(
    "error",
    [
        TimeoutError,
        asyncio.TimeoutError,
        ConnectionResetError,
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ResponseError,
        exceptions.NoScriptError,
    ],
)
def test_everything_that_a_call_to_redis_may_raise_is_caught(error: type[Exception]) -> None:
    assert issubclass(error, REDIS_ERRORS)
