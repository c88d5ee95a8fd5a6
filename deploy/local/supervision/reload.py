"""Reload: restarts the parts whose sources changed."""

from collections.abc import AsyncGenerator, Iterable
from pathlib import Path
from typing import Final

from watchfiles import Change, DefaultFilter, awatch

from deploy.local.parts import Part

# Suffixes of the files that processes read at their start.
_SUFFIXES: Final = frozenset({".py", ".lua", ".json", ".yaml", ".html"})
_SHARED: Final = "common"
_SETTINGS: Final = ".env"


class _SourceFilter(DefaultFilter):
    def __call__(self, change: Change, path: str) -> bool:
        known = Path(path).suffix in _SUFFIXES or Path(path).name == _SETTINGS
        return known and super().__call__(change, path)


def concerned(changed: Iterable[Path], parts: Iterable[Part], project: Path) -> list[str]:
    """Name the parts that have to restart; parts without sources here never do."""
    folders = {path.relative_to(project).parts[0] for path in changed}
    everything = not folders.isdisjoint({_SHARED, _SETTINGS})
    return [
        part.name
        for part in parts
        if part.sources and (everything or not folders.isdisjoint(part.sources))
    ]


async def watch(parts: Iterable[Part], project: Path) -> AsyncGenerator[list[str], None]:
    """Yield the parts to restart, after every change."""
    parts = list(parts)
    names = {_SHARED, _SETTINGS, *(name for part in parts for name in part.sources)}
    paths = [project / name for name in sorted(names) if (project / name).exists()]
    async for changes in awatch(*paths, watch_filter=_SourceFilter()):
        names_to_restart = concerned((Path(path) for _, path in changes), parts, project)
        if names_to_restart:
            yield names_to_restart
