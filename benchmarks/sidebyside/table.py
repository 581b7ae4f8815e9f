"""From outcomes to a table: medians over the rounds, ratios within them, Markdown, JSON and a picture."""

import dataclasses
import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import shorten
from typing import Any

from sidebyside.rounds import Outcome
from tftransformer.evaluation.figures import COLOURS, GREY, new_figure, plain_axes, save
from tftransformer.files import write_json, write_text

Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the text table.

    Args:
        title: Its head.
        key: The figure it shows; a figure of the rounds, of the preparation, or `peak_bytes`.
        form: How Python formats it.
        scale: What it is multiplied by first.
        statistic: "median", "mean", "low" or "high" of the rounds.
    """

    title: str
    key: str
    form: str = ".1f"
    scale: float = 1.0
    statistic: str = "median"

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of a row; empty where the figure is missing."""
        value = figure(row, self.key, self.statistic)
        return "" if value is None else format(value * self.scale, self.form)


def summarize(outcomes: Mapping[str, Outcome]) -> Rows:
    """Make a row of each outcome: of each numeric figure of its turns the median, the range and all values."""
    rows = []
    for name, outcome in outcomes.items():
        figures = {}
        for key in dict.fromkeys(key for turn in outcome.turns for key in turn):
            numbers = [turn[key] for turn in outcome.turns if _is_number(turn.get(key))]
            if numbers:
                figures[key] = _spread(numbers)
        row = {"name": name, "failure": outcome.failure, "figures": figures, "turns": list(outcome.turns)}
        row |= {"ready": dict(outcome.ready), "peak_bytes": outcome.peak_bytes}
        rows.append({**row, "settings": dict(outcome.contender.settings)})
    return rows


def add_ratios(rows: Rows, key: str, base: str, *, lower_is_better: bool = False) -> None:
    """Give each row `{key}_ratio`: how many times better the row called `base` is, round by round.

    Turns of one round happen in the same minute, so the median of their ratios is steadier than the ratio of two medians. Without
    a row called `base` nothing happens; `lower_is_better` is for seconds.
    """
    turns = next((row["turns"] for row in rows if row["name"] == base), [])
    for row in rows:
        pairs = [(ours.get(key), own.get(key)) for ours, own in zip(turns, row["turns"], strict=False)]
        ratios = [
            own / ours if lower_is_better else ours / own
            for ours, own in pairs
            if _is_number(ours) and _is_number(own) and ours > 0 and own > 0
        ]
        if ratios:
            row["figures"][f"{key}_ratio"] = _spread(ratios)


def figure(row: Mapping[str, Any], key: str, statistic: str = "median") -> float | None:
    """Return a row's figure: of its rounds, else what its preparation measured, else its memory."""
    if key in row["figures"]:
        return row["figures"][key][statistic]
    value = row[key] if key == "peak_bytes" else row["ready"].get(key)
    return value if _is_number(value) else None


def markdown(rows: Rows, columns: Sequence[Column]) -> str:
    """Write the rows as a Markdown table; a row that failed has the start of the reason beside its name (the JSON has it whole)."""
    shown = [c for c in columns if any(c.text(row) for row in rows)]
    cells = [["", *(column.title for column in shown)]]
    for row in rows:
        name = row["name"] + (f" ({shorten(row['failure'], 60, placeholder=' …')})" if row["failure"] else "")
        cells.append([name.replace("|", "\\|"), *(column.text(row) for column in shown)])
    widths = [max(3, *(len(line[i]) for line in cells)) for i in range(len(cells[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [
        " | ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:]))])
        for line in [cells[0], rule, *cells[1:]]
    ]
    return "\n".join(f"| {line} |" for line in lines)


def plot_bars(path: str | os.PathLike, panels: Mapping[str, tuple[Rows, str, str]]) -> None:
    """Draw a panel under another: a bar for each row's median, with a whisker from the lowest to the highest round.

    Args:
        path: The PNG.
        panels: Title to (rows, key, label of the axis); rows without the figure are left out, ours have another colour.
    """
    shown = {
        title: ([row for row in rows if figure(row, key) is not None], key, label)
        for title, (rows, key, label) in panels.items()
    }
    shown = {title: panel for title, panel in shown.items() if panel[0]}
    if not shown:
        return
    heights = [0.9 + 0.3 * len(rows) for rows, _, _ in shown.values()]
    drawing = new_figure(8.0, sum(heights))
    grid = drawing.add_gridspec(len(shown), height_ratios=heights)
    for place, (title, (rows, key, label)) in enumerate(shown.items()):
        axes = drawing.add_subplot(grid[place])
        plain_axes(axes)
        for y, row in enumerate(rows):
            value = figure(row, key)
            colour = COLOURS[0] if row["name"].startswith("ours") else GREY
            axes.barh(y, value, color=colour, height=0.7)
            spread = row["figures"].get(key)
            if spread and spread["low"] < spread["high"]:
                axes.plot([spread["low"], spread["high"]], [y, y], color="black", linewidth=1.2)
            axes.annotate(_short(value), (value, y), xytext=(5, 4), textcoords="offset points", fontsize=8, va="center")
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.invert_yaxis()
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel(label, fontsize=9)
    save(drawing, path)


def _short(value: float) -> str:
    """Write three digits of a number, without an exponent: 12,300 and 0.0123."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{value:.3g}"


def write_tables(folder: Path, name: str, text: str, result: Mapping[str, Any]) -> None:
    """Write `{name}.md` and `{name}.json` into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", result)


def machine() -> dict[str, Any]:
    """Return what the figures were read on: processor, cores and the versions that matter."""
    versions = {}
    for package in ("tensorflow", "keras", "keras-hub", "tensorflow-text", "torch", "transformers", "onnxruntime"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    here = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    return {**here, "versions": versions}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _spread(values: Sequence[float]) -> dict[str, Any]:
    ends = {"low": min(values), "high": max(values), "values": list(values)}
    return {"median": median(values), "mean": sum(values) / len(values), **ends}
