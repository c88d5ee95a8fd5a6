"""Rows of the table: bars, comparisons and measurements."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec


class Comparison(msgspec.Struct, frozen=True):
    """One ratio of a row, held against its bar; None where there is none."""

    to: str
    """Base of the ratio, for instance `the C send loop`."""
    ratio: float | None
    bar: float | None = None
    reach: float | None = None
    at_most: bool = False
    """True if smaller is better."""
    unit: str = "×"

    @property
    def meets(self) -> bool | None:
        """True if the bar is met; None if unknown."""
        if self.ratio is None or self.bar is None:
            return None
        return self._within(self.ratio, self.bar)

    @property
    def reaches(self) -> bool | None:
        """True if the further mark is reached; None if unknown."""
        if self.ratio is None or self.reach is None:
            return None
        return self._within(self.ratio, self.reach)

    def _within(self, ratio: float, mark: float) -> bool:
        return ratio <= mark if self.at_most else ratio >= mark


class Series(msgspec.Struct, frozen=True):
    """Points of one line of a plot: x → deliveries/s."""

    label: str
    points: list[tuple[float, float]]


class Row(msgspec.Struct):
    """Measurements of one row of the table."""

    key: str
    what: str
    figures: dict[str, str]
    """Subject → its medians, as text with units."""
    comparisons: list[Comparison]
    notes: list[str]
    samples: dict[str, list[float]]
    """Subject → the value of every run, for a closer look."""
    curves: dict[str, list[Series]] = {}
    date: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of issue 2 and the further mark behind it."""

    bar: float
    reach: float | None = None
    at_most: bool = False
    unit: str = "×"

    def of(self, to: str, ratio: float | None) -> Comparison:
        """Hold a ratio against it."""
        return Comparison(to, ratio, self.bar, self.reach, self.at_most, self.unit)


def count(value: float) -> str:
    """A number of things per second for people: 1,234 or 56 k or 7.8 M."""
    if value >= 1e6:
        return f"{value / 1e6:.2f} M"
    if value >= 1e4:
        return f"{value / 1e3:.0f} k"
    return f"{value:,.0f}"


def millis(micros: float) -> str:
    """Microseconds as milliseconds with three digits."""
    ms = micros / 1e3
    return f"{ms:.0f} ms" if ms >= 100 else f"{ms:.1f} ms" if ms >= 10 else f"{ms:.2f} ms"


def spread(values: Sequence[float]) -> float:
    """Spread of the runs: (largest - smallest) / median, in percent."""
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return (ordered[-1] - ordered[0]) / middle * 100 if middle else 0.0
