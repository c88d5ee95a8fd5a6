"""Runs of publications without a hole."""

from typing import NamedTuple


class Run(NamedTuple):
    """Publications of one epoch from a first to a last offset, without a hole."""

    epoch: str
    first: int
    last: int

    @property
    def length(self) -> int:
        """Number of publications."""
        return self.last - self.first + 1
