"""The words of a drift report."""

import textwrap
from typing import Any

_WIDTH = 110
_LABELS = 12


def drift_text(report: Any, level: float) -> str:
    """A `DriftReport` for people.

    Args:
        report: The report.
        level: The chance of any false alarm.
    """
    trained, held, new = report.rows
    beside = f"{trained:,} of training" + (f" and {held:,} held out" if held else "")
    parts = [
        f"Drift: {new:,} new texts beside {beside}",
        _measures(report),
        _verdict(report, level),
        _labels(report),
        _terms(report),
    ]
    return "\n\n".join(part for part in parts if part)


def _measures(report: Any) -> str:
    rows = [["", "before", "now", "distance", "noise ends", "p", ""]]
    for measure in report.measures:
        found = measure.comparison
        numbers = [f"{found.distance:.4f}", f"{found.noise:.4f}", f"{found.p_value:.3f}"]
        rows.append(
            [measure.name, measure.old, measure.new, *numbers, "DRIFTED" if measure.drifted else "noise"]
        )
    return _table(rows)


def _verdict(report: Any, level: float) -> str:
    count = len(report.measures)
    found = report.drifted
    lines = [
        f"Beyond noise: {', '.join(found)}." if found else "Nothing is beyond noise.",
        f"Noise is how far apart random parts of all these texts, of the same sizes, are ({report.splits} divisions). If "
        f"nothing has changed, at most {level:.0%} of reports find any of the {count} measures beyond it. Drift says that "
        "texts are others, not that answers are wrong: label some of them and evaluate.",
    ]
    if not report.rows[1]:
        lines.append(
            "No texts were held out: predictions, confidence and vectors are compared with those for texts that the "
            "classifier was trained on, of which it is surer than of any others."
        )
    return "\n".join(textwrap.fill(line, _WIDTH) for line in lines)


def _labels(report: Any) -> str:
    changed = sorted(report.labels, key=lambda row: -abs(row[2] - row[1]))[:_LABELS]
    chosen = [row for row in report.labels if row in changed]
    rows = [["predicted", "before", "now"]]
    rows += [[" ".join(label.split())[:40], f"{old:.1%}", f"{new:.1%}"] for label, old, new in chosen]
    more = len(report.labels) - len(chosen)
    return _table(rows) + (f"\n… and {more} labels that changed less" if more else "")


def _terms(report: Any) -> str:
    if not report.terms:
        return ""
    trained, _, new = report.rows
    shown = ", ".join(
        f"{term.term} ({term.new / new:.0%}, {term.old / trained:.0%})" for term in report.terms
    )
    return textwrap.fill(f"In more of the new texts (share of the new, of the old): {shown}", _WIDTH)


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column in (0, 6) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
