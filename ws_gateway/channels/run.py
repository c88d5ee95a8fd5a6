"""Runs of publications without a hole."""

from typing import NamedTuple


class Run(NamedTuple):
    """Publications of one epoch from a first to a last offset, without a hole."""

    epoch: str
    first: int
    last: int
