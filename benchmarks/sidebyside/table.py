"""From outcomes to a table: medians over the rounds, ratios within them, Markdown and JSON."""

import dataclasses
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from textwrap import shorten
from typing import Any

from sidebyside.contenders import Outcome
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
    """A row for each outcome: of each numeric figure of its turns the median, the range and all values."""
    rows = []
    for name, outcome in outcomes.items():
        figures = {}
        for key in dict.fromkeys(key for turn in outcome.turns for key in turn):
            numbers = [turn[key] for turn in outcome.turns if _is_number(turn.get(key))]
            if numbers:
                figures[key] = _spread(numbers)
        rows.append(
            {
                "name": name,
                "failure": outcome.failure,
                "figures": figures,
                "turns": list(outcome.turns),
                "ready": dict(outcome.ready),
                "peak_bytes": outcome.peak_bytes,
                "settings": dict(outcome.contender.settings),
            }
        )
    return rows


def add_ratios(rows: Rows, key: str, base: str, *, lower_is_better: bool = False) -> None:
    """Give each row `{key}_ratio`: how many times better the row called `base` is, round by round.

    Turns of one round happen in the same minute, so the median of their ratios is steadier than the ratio of
    two medians.

    Args:
        rows: From `summarize`; changed in place.
        key: The figure.
        base: Name of the row that the others are compared with; without it nothing happens.
        lower_is_better: For seconds.

    Example:
        >>> add_ratios(rows, "examples_per_second", "ours")  # doctest: +SKIP
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
    """A row's figure: of its rounds, else what its preparation measured, else its memory."""
    if key in row["figures"]:
        return row["figures"][key][statistic]
    value = row[key] if key == "peak_bytes" else row["ready"].get(key)
    return value if _is_number(value) else None


def markdown(rows: Rows, columns: Sequence[Column]) -> str:
    """The rows as a Markdown table; a row that failed shows what it has, and the start of the reason beside
    its name (the JSON has it whole)."""
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


def write_tables(folder: Path, name: str, text: str, result: Mapping[str, Any]) -> None:
    """Write `{name}.md` and `{name}.json` into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / f"{name}.md", text)
    write_json(folder / f"{name}.json", result)


def machine() -> dict[str, Any]:
    """What the figures were read on: processor, cores and the versions that matter."""
    import importlib.metadata
    import os

    versions = {}
    for package in ("tensorflow", "keras", "keras-hub", "tensorflow-text", "torch", "transformers", "onnxruntime"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
    }


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
    return {
        "median": median(values),
        "mean": sum(values) / len(values),
        "low": min(values),
        "high": max(values),
        "values": list(values),
    }
