"""A message as it is written to Kafka."""

from collections.abc import Sequence
from typing import NamedTuple

Header = tuple[str, bytes]


class Message(NamedTuple):
    """`at_ms` is its Unix time in milliseconds (0: now).

    `epoch` and `offset` are those of a publication, as they stand in its text; else empty.
    """

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    at_ms: int = 0
    epoch: bytes = b""
    offset: bytes = b""

    @property
    def size(self) -> int:
        """Size in bytes, about as the broker counts it, but for the compression."""
        headers = sum(len(name) + len(value) for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers
