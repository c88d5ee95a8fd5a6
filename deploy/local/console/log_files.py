"""Log files, one per part, each kept below a size."""

import os
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE_MAX_BYTES: Final = 10 * 1024 * 1024
"""Size past which a file is renamed to `<part>.log.1`, replacing the one before."""
_TAIL_BYTES: Final = 65_536


class LogFiles:
    """Appends lines to `<part>.log`. If the disk is full, it loses lines and says so once.

    Args:
        folder: made if needed, for this user alone.
        max_bytes: of one file.
    """

    def __init__(self, folder: Path, max_bytes: int = FILE_MAX_BYTES) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._files: dict[str, int] = {}
        self._sizes: dict[str, int] = {}
        self._starts: dict[str, int] = {}
        self.trouble: str | None = None
        """Error of the first write that failed."""

    def path(self, part: str) -> Path:
        """Return the log file of a part."""
        return self.folder / f"{part}.log"

    def write(self, part: str, line: bytes) -> None:
        """Append one line (without its line end)."""
        try:
            self._append(part, line + b"\n")
        except OSError as error:
            self.trouble = self.trouble or f"{self.path(part)}: {error.strerror}"

    def tail(self, part: str, count: int) -> list[str]:
        """Read the last lines that a part has written since the start, at most `count`."""
        try:
            with self.path(part).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(self._starts.get(part, size), size - _TAIL_BYTES))
                lines = deque(file.read().splitlines(), maxlen=count)
        except OSError:
            return []
        return [line.decode(errors="replace") for line in lines]

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def _append(self, part: str, text: bytes) -> None:
        file = self._files.get(part)
        if file is None:
            file = self._open(part)
            self._starts[part] = self._sizes[part]
        elif self._sizes[part] + len(text) > self._max_bytes:
            os.close(self._files.pop(part))
            self.path(part).replace(self.path(f"{part}").with_suffix(".log.1"))
            file = self._open(part)
            self._starts[part] = 0
        self._sizes[part] += os.write(file, text)

    def _open(self, part: str) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        file = os.open(self.path(part), flags, 0o600)
        self._files[part] = file
        self._sizes[part] = 0
        with suppress(OSError):
            self._sizes[part] = os.fstat(file).st_size
        return file
