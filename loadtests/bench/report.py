"""Write what was measured: JSON to go on with, Markdown for the docs."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from loadtests.bench.rows import Comparison, Row

_METHOD: Final = Path(__file__).parent / "method.md"


class Results(msgspec.Struct):
    """A session, or several: each row was measured in one."""

    machine: list[str]
    commit: str
    options: str
    rows: list[Row]


def save(results: Results, path: Path) -> None:
    """Write the results as JSON.

    Raises:
        OSError: the file can't be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)))


def load(path: Path) -> Results | None:
    """Read what `save` wrote; None when there is nothing.

    Raises:
        msgspec.DecodeError: the file is something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Results) if path.exists() else None


def merged(before: Results | None, now: Results, order: Sequence[str]) -> Results:
    """Return `now` with the rows that it lacks taken from `before`, in the table's order."""
    rows = {row.key: row for row in [*(before.rows if before else ()), *now.rows]}
    return msgspec.structs.replace(now, rows=[rows[key] for key in order if key in rows])


def table(rows: Iterable[Row]) -> str:
    """Return the table of issue 2 as Markdown, with what was measured."""
    lines = [
        "| what | measured (medians) | ratio | bar | reach for |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        if not (row.figures or row.comparisons or row.notes):
            continue
        cells = [
            row.what,
            "<br>".join(f"{name}: {text}" for name, text in row.figures.items()),
            "<br>".join(_ratio(comparison) for comparison in row.comparisons),
            "<br>".join(_mark(c, c.bar, c.meets) for c in row.comparisons),
            "<br>".join(_mark(c, c.reach, c.reaches) for c in row.comparisons),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)


def _ratio(comparison: Comparison) -> str:
    value = (
        "not measured" if comparison.ratio is None else f"{comparison.ratio:.2f}{comparison.unit}"
    )
    return f"**{value}** {comparison.to}".strip()


def _mark(comparison: Comparison, mark: float | None, met: bool | None) -> str:
    if not mark:
        return "–"
    sign = "≤" if comparison.at_most else "≥"
    verdict = {True: "met", False: "**missed**", None: "?"}[met]
    return f"{sign} {mark:g}{comparison.unit} {verdict}"


def notes(rows: Iterable[Row]) -> list[str]:
    """Return what was missing or failed, row by row."""
    return [f"{row.key}: {note}" for row in rows for note in dict.fromkeys(row.notes)]


def markdown(results: Results, plot: Path | None) -> str:
    """Return the whole page."""
    remarks = notes(results.rows)
    dates = sorted({row.date for row in results.rows})
    parts = [
        "# Benchmarks",
        f"Written by `make bench` ({results.options}; {', '.join(dates)}; commit "
        f"`{results.commit}`). Do not edit: the text is in `loadtests/bench/method.md`.",
        table(results.rows),
        "\n".join(["Not measured, or not counted:", "", *(f"- {text}" for text in remarks)])
        if remarks
        else "",
        f"![Deliveries/s against connections and against backlog]({plot.name})" if plot else "",
        "## Machine and versions",
        "\n".join(f"- {line}" for line in results.machine),
        _METHOD.read_text().strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
