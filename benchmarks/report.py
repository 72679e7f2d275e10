"""What a benchmark hands over, and how it is shown: tables, a JSON file, a plot, and the lines of the figures."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.figures import Figure

RESULTS = Path(__file__).resolve().parent / "results"


@dataclass
class Table:
    """Rows of text under headings; the first column names the row."""

    title: str
    headings: list[str]
    rows: list[list[str]] = field(default_factory=list)


@dataclass
class Result:
    """One benchmark's outcome.  `bars` is what is plotted: a panel's title -> a bar's name -> its length."""

    name: str
    tables: list[Table]
    figures: list[Figure]
    data: dict[str, Any]
    bars: dict[str, dict[str, float]]
    unit: str = "µs, p50"


def show(result: Result, console: Console) -> None:
    """Prints the tables."""
    for table in result.tables:
        drawn = RichTable(title=table.title, title_justify="left")
        for number, heading in enumerate(table.headings):
            drawn.add_column(heading, justify="right" if number else "left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)


def save(result: Result, seconds: float) -> None:
    """Writes the JSON file and the plot."""
    RESULTS.mkdir(exist_ok=True)
    document = {
        "benchmark": result.name,
        "machine": {"processors": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()},
        "seconds": round(seconds, 1),
        "figures": [figure.as_json() for figure in result.figures],
        **result.data,
    }
    (RESULTS / f"{result.name}.json").write_text(json.dumps(document, indent=2) + "\n")
    _plot(result)


def _plot(result: Result) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    count = len(result.bars)
    height = sum(1 + 0.35 * len(bars) for bars in result.bars.values())
    shares = [1 + 0.35 * len(bars) for bars in result.bars.values()]
    figure, all_axes = pyplot.subplots(count, 1, figsize=(9, height), height_ratios=shares, squeeze=False)
    for axes, (title, bars) in zip(all_axes[:, 0], result.bars.items(), strict=True):
        drawn = axes.barh(list(bars), list(bars.values()))
        axes.bar_label(drawn, fmt="%.1f", padding=3)
        axes.invert_yaxis()
        axes.margins(x=0.15)
        axes.set_title(f"{title} ({result.unit})", loc="left", fontsize=10)
    figure.tight_layout()
    figure.savefig(RESULTS / f"{result.name}.png", dpi=120)
    pyplot.close(figure)
