"""The runs of a comparison of strategies as a table: means and deviations over seeds, and what is beyond chance."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import t

MEASURES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "micro_f1": "micro-F1"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One strategy at one number of training rows, at its best rate.

    Attributes:
        strategy: As it was spelled.
        rows: Training rows.
        rate: The highest rate.
        scores: The figure of each seed.
        other: The mean of the second figure.
        trained: Parameters that trained, those put in included.
        parameters: All of the model.
        seconds: Of training, tracing included, the median of the seeds.
        difference: Mean of this minus the first strategy's scores, seed by seed; None for the first itself.
        spread: Standard deviation of those differences (with n - 1); None with one seed.
    """

    strategy: str
    rows: int
    rate: float
    scores: tuple[float, ...]
    other: float
    trained: int
    parameters: int
    seconds: float
    difference: float | None = None
    spread: float | None = None

    @property
    def score(self) -> float:
        """The mean over seeds."""
        return statistics.fmean(self.scores)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (with n - 1); None with one seed."""
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def margin(self) -> float | None:
        """Half of the 95 % interval of the difference, by Student's t over the seeds; None where there is none."""
        if self.spread is None:
            return None
        return float(t.ppf(0.975, len(self.scores) - 1)) * self.spread / len(self.scores) ** 0.5

    @property
    def beyond_chance(self) -> bool:
        """Whether that interval leaves 0 out: another choice of seeds would hardly turn the difference round."""
        return self.margin is not None and abs(self.difference) > self.margin


class StrategyTable:
    """What `compare_strategies` found. `str()` of it is a table for people.

    Args:
        cells: One mapping a run: `strategy`, `rows`, `rate`, `seed`, `test`, `seconds`, `trained_parameters`,
            `parameters`, and `validation` where there is more than one rate.

    Attributes:
        cells: The runs.
        figure: What strategies are compared by: "accuracy" of single-label data, "micro_f1" of multi-label data.
        rows: A `Row` for each strategy and number of training rows.
    """

    def __init__(self, cells: Sequence[Mapping[str, Any]]) -> None:
        self.cells = tuple(cells)
        self.figure = "accuracy" if "accuracy" in cells[0]["test"] else "micro_f1"
        strategies = list(dict.fromkeys(cell["strategy"] for cell in cells))
        self.rows: tuple[Row, ...] = ()
        for size in sorted({cell["rows"] for cell in cells}):
            chosen = [self._best(strategy, size) for strategy in strategies]
            made = [self._row(runs) for runs in chosen]
            self.rows += (made[0], *(_against(made[0], row) for row in made[1:]))

    def _best(self, strategy: str, size: int) -> list[Mapping[str, Any]]:
        """The runs, in the order of seeds, of the rate that is best on the validation rows."""
        runs: dict[float, list] = {}
        for cell in sorted(self.cells, key=lambda cell: cell["seed"]):
            if (cell["strategy"], cell["rows"]) == (strategy, size):
                runs.setdefault(cell["rate"], []).append(cell)
        if len(runs) == 1:
            return next(iter(runs.values()))
        return max(
            runs.values(), key=lambda cells: statistics.fmean(c["validation"][self.figure] for c in cells)
        )

    def _row(self, runs: Sequence[Mapping[str, Any]]) -> Row:
        first = runs[0]
        return Row(
            first["strategy"],
            first["rows"],
            first["rate"],
            tuple(run["test"][self.figure] for run in runs),
            statistics.fmean(run["test"]["macro_f1"] for run in runs),
            first["trained_parameters"],
            first["parameters"],
            statistics.median(run["seconds"] for run in runs),
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON values."""
        rows = [
            {
                **dataclasses.asdict(row),
                "score": row.score,
                "deviation": row.deviation,
                "beyond_chance": row.beyond_chance,
            }
            for row in self.rows
        ]
        return {"figure": self.figure, "rows": rows, "runs": [dict(cell) for cell in self.cells]}

    def __str__(self) -> str:
        blocks = []
        for size in dict.fromkeys(row.rows for row in self.rows):
            rows = [row for row in self.rows if row.rows == size]
            blocks.append("\n".join([*self._lines(size, rows), *_verdict(rows)]))
        return "\n\n".join(blocks)

    def _lines(self, size: int, rows: Sequence[Row]) -> list[str]:
        reference = rows[0]
        head = (
            "",
            MEASURES[self.figure],
            "macro-F1",
            f"against {reference.strategy}",
            "rate",
            "trained",
            "time",
        )
        table = [head]
        for row in rows:
            table.append(
                (
                    row.strategy,
                    _number(row.score, row.deviation),
                    f"{row.other:.3f}",
                    "" if row.difference is None else _number(row.difference, row.spread, sign="+"),
                    f"{row.rate:g}",
                    f"{row.trained:,} ({_percent(row.trained / row.parameters)})",
                    f"{row.seconds:.0f} s ({row.seconds / reference.seconds:.2f})",
                )
            )
        widths = [max(len(line[i]) for line in table) for i in range(len(head))]
        seeds = f"{len(reference.scores)} seed{'s' * (len(reference.scores) > 1)}"
        lines = [f"{size} training rows, {seeds}"]
        for line in table:
            cells = [
                line[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:])),
            ]
            lines.append("  ".join(cells).rstrip())
        return lines


def _against(reference: Row, row: Row) -> Row:
    differences = [mine - theirs for mine, theirs in zip(row.scores, reference.scores, strict=True)]
    spread = statistics.stdev(differences) if len(differences) > 1 else None
    return dataclasses.replace(row, difference=statistics.fmean(differences), spread=spread)


def _verdict(rows: Sequence[Row]) -> list[str]:
    """In words what the block of one size says."""
    best, reference = max(rows, key=lambda row: row.score), rows[0]
    lines = [f"best: {best.strategy}"]
    if reference.deviation is None:
        return [*lines, "one seed tells nothing about chance"]
    for what, found in (
        ("better", [row for row in rows[1:] if row.beyond_chance and row.difference > 0]),
        ("worse", [row for row in rows[1:] if row.beyond_chance and row.difference < 0]),
    ):
        if found:
            lines.append(
                f"{what} than {reference.strategy} beyond what seeds explain (95 %): "
                f"{', '.join(row.strategy for row in found)}"
            )
    return lines


def _number(mean: float, deviation: float | None, sign: str = "") -> str:
    text = f"{mean:{sign}.3f}"
    return text if deviation is None else f"{text} ± {deviation:.3f}"


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"
