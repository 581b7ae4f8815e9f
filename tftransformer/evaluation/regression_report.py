"""report.txt of predicted numbers, and the "test" section of their metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import counted, text_table

_TITLES = {
    "mse": "MSE",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R2",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
    "accuracy": "nearest level right",
    "within_one_level": "within one level",
    "kappa": "quadratic weighted kappa",
}


# Of each number where there are several.
_COLUMNS = ("mae", "pearson", "spearman")


class RegressionReport:
    """The figures of predicted numbers on one set of texts; `str(report)` is report.txt.

    Args:
        metrics: Result of `regression_metrics`.
        baselines: Results of `mean_baseline` and `tfidf_ridge_baseline` for the same texts, shown beside the model.
        title: The first line: what was evaluated.
        unit: Name of one row of the input, such as "text" or "pair".
        units: Units of the K numbers, such as "stars", in their order; none by default.

    Attributes:
        metrics, baselines, names: The arguments, and the names of the numbers.

    Raises:
        TransformerError: `baselines` or `units` do not fit `metrics`.

    Example:
        >>> from tftransformer.evaluation.regression import regression_metrics
        >>> from tftransformer.evaluation.regression_baselines import mean_baseline
        >>> m = regression_metrics([1.0, 2.0, 4.0], [1.5, 2.0, 3.5], ["score"])
        >>> print(RegressionReport(m, [mean_baseline([1, 3], [1.0, 2.0, 4.0], ["score"])]))
        Test: 3 texts, score
        ...
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        baselines: Sequence[Mapping[str, Any]] = (),
        title: str = "Test",
        unit: str = "text",
        units: Sequence[str] = (),
    ) -> None:
        self.metrics = dict(metrics)
        self.names = tuple(metrics["per_number"])
        given = [baselines] if isinstance(baselines, Mapping) else list(baselines or ())
        self.baselines = tuple(dict(baseline) for baseline in given)
        self._title, self._unit, self._units = title, unit, (units,) if isinstance(units, str) else tuple(units)
        if len(self._units) not in (0, len(self.names)):
            raise TransformerError(f"units must be one for each of {len(self.names)} numbers; got {list(self._units)}")
        for baseline in self.baselines:
            same = tuple(baseline["per_number"]) == self.names and baseline["examples"] == metrics["examples"]
            if not same:
                raise TransformerError(
                    f"baselines must be of the {metrics['examples']} rows and the numbers of the metrics, "
                    f"{list(self.names)[:8]}; got {baseline['examples']} and {list(baseline['per_number'])[:8]}"
                )

    def to_dict(self) -> dict[str, Any]:
        """The "test" section of metrics.json: the metrics, and the baselines' under `baselines`."""
        return {**self.metrics, "baselines": [dict(baseline) for baseline in self.baselines]}

    def __getitem__(self, key: str) -> Any:
        return self.metrics[key]

    def __repr__(self) -> str:
        shown = ", ".join(f"{key}={_figure(self.metrics[key])}" for key in ("mae", "pearson", "spearman"))
        return f"RegressionReport({shown})"

    def __str__(self) -> str:
        parts = [self._head(), self._per_number(), self._summary(), self._notes()]
        return "\n\n".join(part for part in parts if part)

    def _head(self) -> str:
        rows, numbers = self.metrics["examples"], len(self.names)
        first = f"{self._title}: {counted(rows, self._unit)}, {counted(numbers, 'number')}"
        if numbers == 1 and self.names != ("number",):
            first = f"{self._title}: {counted(rows, self._unit)}, {self._named(0)}"
        if "levels" in self.metrics:
            first += f", levels {', '.join(f'{level:g}' for level in self.metrics['levels'][:12])}"
        return first

    def _named(self, place: int) -> str:
        unit = f" ({self._units[place]})" if self._units else ""
        return self.names[place] + unit

    def _per_number(self) -> str:
        if len(self.names) == 1:
            return ""
        rows = [["", *(_TITLES[key].removesuffix(" correlation") for key in _COLUMNS)]]
        for place, name in enumerate(self.names):
            figures = self.metrics["per_number"][name]
            rows.append([self._named(place), *(_with_interval(figures, key) for key in _COLUMNS)])
        return text_table(rows)

    def _summary(self) -> str:
        several = len(self.names) > 1
        models = [self.metrics, *self.baselines]
        rows = [
            ["mean of the numbers" if several else "", "this model", *(b.get("name", "baseline") for b in models[1:])]
        ]
        for key, title in _TITLES.items():
            if key in self.metrics:
                rows.append([title, *(_with_interval(figures, key) for figures in models)])
        interval = self.metrics["confidence_interval"]
        note = f"In brackets: {100 * interval['level']:.0f} % confidence intervals."
        if interval["mse"] is None:
            note = "Too few rows for confidence intervals."
        return f"{text_table(rows, left=(0, 1))}\n{note}"

    def _notes(self) -> str:
        """Why figures of the model are undefined; that the mean has no correlations goes without saying."""
        notes: dict[str, list[str]] = {}
        for key, title in _TITLES.items():
            if f"{key}_note" in self.metrics:
                notes.setdefault(self.metrics[f"{key}_note"], []).append(title)
        return "\n".join(f"{', '.join(titles)}: {note}" for note, titles in notes.items())


def _figure(value: float | None) -> str:
    if value is None:
        return "undefined"
    # Adding 0 takes the sign off a zero that rounding made.
    return f"{round(value, 4) + 0.0:.4f}" if abs(value) < 10_000 else f"{value:.6g}"


def _with_interval(figures: Mapping[str, Any], key: str) -> str:
    if key not in figures:
        return "-"
    interval = figures["confidence_interval"][key]
    if interval is None:
        return _figure(figures[key])
    # Two minus signs and a dash cannot be read.
    between = " to " if interval[0] < 0 else "-"
    return f"{_figure(figures[key])} ({_figure(interval[0])}{between}{_figure(interval[1])})"
