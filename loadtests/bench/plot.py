"""Draw deliveries/s against connections and against backlog as one SVG."""

from pathlib import Path
from typing import Any, Final

from loadtests.bench.rows import Row

_PANELS: Final = {
    "connections": "connections (4 publications in flight)",
    "backlog": "publications queued (1,000 connections)",
}
_COLORS: Final = {"Roomcast": "#d1495b", "NATS": "#30638e", "C send loop": "#7d8597"}


def draw(row: Row, path: Path) -> None:
    """Write the plot.

    Raises:
        OSError: the file can't be written.
    """
    import matplotlib as mpl

    mpl.use("svg")
    # The same measurement must give the same file.
    mpl.rcParams.update({"svg.hashsalt": "roomcast", "font.size": 10})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(
        1, len(_PANELS), figsize=(10, 4), sharey=True, layout="constrained"
    )
    for panel, (name, label) in zip(panels, _PANELS.items(), strict=True):
        _draw_panel(panel, row, name, label)
    panels[0].set_ylabel("deliveries/s of one gateway core")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def _draw_panel(panel: Any, row: Row, name: str, label: str) -> None:
    for series in row.curves.get(name, []):
        if series.points:
            xs = [x for x, _ in series.points]
            ys = [y for _, y in series.points]
            color = _COLORS.get(series.label)
            panel.plot(xs, ys, marker="o", markersize=4, label=series.label, color=color)
    panel.set_xscale("log", base=10 if name == "connections" else 2)
    panel.set_yscale("log")
    panel.set_xlabel(label)
    panel.grid(visible=True, which="major", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    ticks = sorted({x for series in row.curves.get(name, []) for x, _ in series.points})
    panel.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
    panel.minorticks_off()
