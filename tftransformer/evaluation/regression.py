"""Metrics of predicted numbers, as metrics.json has them: errors, correlations, agreement of ratings, with intervals.

Efron, "Bootstrap methods: another look at the jackknife", 1979; Cohen, "Weighted kappa", 1968.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer.data.numbers import as_numbers
from tftransformer.errors import TransformerError
from tftransformer.evaluation.intervals import LEVEL

# With fewer rows resamples say little: of three, each correlation is near 1 or near -1.
_LEAST_ROWS = 10
# Resamples times rows, in all and at once.
_MOST_DRAWS = 5_000_000
_CHUNK = 1_000_000


def regression_metrics(
    targets: Any,
    predictions: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    levels: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Compute errors, correlations and, for ratings, agreement of predicted numbers, with intervals.

    Intervals are percentile bootstrap intervals over rows: all numbers of a row are drawn together, and ranks are taken
    anew, exactly, in each resample. There are 2,000 resamples up to 2,500 rows, above that fewer, down to 400.
    Resamples in which a figure is undefined are left out of its interval.

    Args:
        targets: (B,) or (B, K) numbers.
        predictions: As the targets.
        names: K different names; None is "number", or "number 1" to "number K".
        seed: Random seed of the bootstrap.
        levels: For targets on a scale, such as 1 to 5, its steps: predictions are also compared as the nearest level,
            the lower of two equally near. None leaves this out.

    Returns:
        `examples` (B); `mse`, `rmse`, `mae`, `r2`, `pearson` and `spearman`, each the mean over the K numbers;
        `confidence_interval` {level, one [low, high] for each figure}; and `per_number` {name: the same figures and
        intervals}. With levels also `accuracy`, `within_one_level` (fraction at most one level off), `kappa`
        (quadratically weighted, by the positions of levels) and `levels`. A figure that is undefined for a number, as
        r2 is for constant targets and a correlation for constant targets or predictions, is None there and in the mean,
        with the reason in `r2_note`, `pearson_note` and so on. An interval is None where its figure is, and below 10
        rows. Everything is plain Python, ready for JSON.

    Raises:
        TransformerError: Shapes, names, levels or values that do not fit.

    Example:
        >>> m = regression_metrics([1.0, 2.0, 3.0, 4.0], [1.5, 2.0, 2.5, 4.0])
        >>> m["mae"], round(m["pearson"], 3), m["spearman"]
        (0.25, 0.956, 1.0)
        >>> regression_metrics([1.0, 2.0], [3.0, 3.0])["pearson_note"]
        "undefined: all predictions of 'number' are 3"
    """
    actual, predicted = _checked(targets, predictions)
    names = _names(names, actual.shape[1])
    steps = None if levels is None else _checked_levels(levels, actual, names)
    columns = [_Column(actual[:, k], predicted[:, k], steps) for k in range(len(names))]
    ones = np.ones((1, len(actual)))
    points = [{key: float(value[0]) for key, value in column.figures(ones).items()} for column in columns]
    resampled = _resample(columns, len(actual), seed) if len(actual) >= _LEAST_ROWS else None
    per_number = {}
    for k, (name, column) in enumerate(zip(names, columns, strict=True)):
        draws = None if resampled is None else {key: values[k] for key, values in resampled.items()}
        per_number[name] = _described(points[k], draws, column.notes(name))
    notes = {}
    for figures in per_number.values():
        notes = {**{key: note for key, note in figures.items() if key.endswith("_note")}, **notes}
    mean = {key: float(np.mean([point[key] for point in points])) for key in points[0]}
    draws = None if resampled is None else {key: values.mean(axis=0) for key, values in resampled.items()}
    result = {"examples": len(actual), **_described(mean, draws, notes), "per_number": per_number}
    return result if steps is None else {**result, "levels": steps.tolist()}


def _checked(targets: Any, predictions: Any) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64 (B, K)."""
    pair = [as_numbers(values, what, dtype="float64") for values, what in
            ((targets, "targets"), (predictions, "predictions"))]  # fmt: skip
    actual, predicted = (values[:, None] if values.ndim == 1 else values for values in pair)
    if not actual.size:
        raise TransformerError(f"targets must hold at least one number; got shape {pair[0].shape}")
    if actual.shape != predicted.shape:
        raise TransformerError(f"predictions must have the shape of targets, {pair[0].shape}; got {pair[1].shape}")
    return actual, predicted


def _names(names: Sequence[str] | None, count: int) -> tuple[str, ...]:
    if names is None:
        return ("number",) if count == 1 else tuple(f"number {k + 1}" for k in range(count))
    given = () if isinstance(names, (str, bytes)) else tuple(str(name) for name in names)
    if len(given) != count or len(set(given)) != count:
        raise TransformerError(f"names must be {count} different names, one a number; got {names!r:.80}")
    return given


def _checked_levels(levels: Sequence[float], actual: np.ndarray, names: Sequence[str]) -> np.ndarray:
    steps = as_numbers(levels, "levels", dtype="float64")
    if steps.ndim != 1 or len(steps) < 2 or not (np.diff(steps) > 0).all():
        raise TransformerError(f"levels must be at least two numbers in rising order; got {levels!r:.80}")
    gaps = np.abs(actual[..., None] - steps).min(axis=-1)
    # Targets that were kept in float32.
    if (wrong := gaps > 1e-5 * np.abs(steps).max()).any():
        row, k = np.argwhere(wrong)[0]
        shown = ", ".join(f"{step:g}" for step in steps[:10])
        raise TransformerError(
            f"targets must be among the levels, {shown}; got {actual[row, k]:g} for {names[k]!r} in row {row} (from 0)"
        )
    return steps


def _nearest(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Positions of the nearest steps, the lower of two equally near."""
    return np.searchsorted((steps[1:] + steps[:-1]) / 2, values)


class _Column:
    """One number's targets and predictions, whose figures come from sums over rows, for many weightings at once."""

    def __init__(self, actual: np.ndarray, predicted: np.ndarray, steps: np.ndarray | None) -> None:
        self._actual, self._predicted = actual, predicted
        errors = predicted - actual
        # About the mean: sums of squares far from 0 would lose their digits.
        x, y = actual - actual.mean(), predicted - predicted.mean()
        sums = [x, y, x * x, y * y, x * y, errors * errors, np.abs(errors)]
        self._leveled = steps is not None
        if steps is not None:
            i, j = (_nearest(values, steps).astype(np.float64) for values in (actual, predicted))
            gaps = np.abs(i - j)
            sums += [i, j, i * i, j * j, gaps * gaps, gaps == 0, gaps <= 1]
            self._positions = i, j
        self._sums = np.stack(sums, axis=-1)

    def figures(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Every figure (R,) for R resamples, NaN where undefined.

        Args:
            counts: (R, B), how often each row stands in each resample; B in all.
        """
        total = counts.shape[1]
        means = (counts @ self._sums / total).T
        x, y, xx, yy, xy, square, absolute = means[:7]
        with np.errstate(divide="ignore", invalid="ignore"):
            spearman, constant_x, constant_y = self._spearman(counts)
            spread_x, spread_y = np.maximum(xx - x * x, 0), np.maximum(yy - y * y, 0)
            undefined = constant_x | constant_y
            result = {
                "mse": square,
                "rmse": np.sqrt(square),
                "mae": absolute,
                "r2": np.where(constant_x | (spread_x == 0), np.nan, 1 - square / spread_x),
                "pearson": np.where(undefined, np.nan, (xy - x * y) / np.sqrt(spread_x * spread_y)),
                "spearman": np.where(undefined, np.nan, spearman),
            }
            if self._leveled:
                i, j, ii, jj, gap, exact, near = means[7:]
                chance = ii + jj - 2 * i * j
                kappa = np.where(chance > 1e-12, 1 - gap / chance, np.nan)
                result.update(accuracy=exact, within_one_level=near, kappa=kappa)
        for key in ("pearson", "spearman"):
            result[key] = np.where(np.isfinite(result[key]), np.clip(result[key], -1, 1), np.nan)
        return result

    def _spearman(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Correlation of ranks, and whether all targets, or all predictions, are alike."""
        middle = (counts.shape[1] + 1) / 2
        a, b = (_ranks(values, counts) - middle for values in (self._actual, self._predicted))
        aa, bb, ab = (np.einsum("rb,rb,rb->r", counts, *pair, optimize=False) for pair in ((a, a), (b, b), (a, b)))
        return ab / np.sqrt(aa * bb), aa == 0, bb == 0

    def notes(self, name: str) -> dict[str, str]:
        """Why figures of all rows are undefined, by `<figure>_note`."""
        if len(self._actual) < 2:
            why = {key: f"there is one row of {name!r}, not two" for key in ("r2", "pearson", "spearman")}
        else:
            why = {}
            for what, values in (("predictions", self._predicted), ("targets", self._actual)):
                if np.ptp(values) == 0:
                    touched = ("r2", "pearson", "spearman") if what == "targets" else ("pearson", "spearman")
                    why.update(dict.fromkeys(touched, f"all {what} of {name!r} are {values[0]:g}"))
        if self._leveled and len(np.unique(self._positions)) == 1:
            why["kappa"] = f"all targets and predictions of {name!r} are of one level"
        return {f"{key}_note": f"undefined: {reason}" for key, reason in why.items()}


def _ranks(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Ranks (R, B) from 1, equal values sharing their mean, of rows that stand `counts` (R, B) times in a resample."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    passed = np.zeros((len(counts), len(values) + 1))
    np.cumsum(counts[:, order], axis=1, out=passed[:, 1:])
    below, upto = (np.empty(len(values), np.int64) for _ in range(2))
    below[order] = np.searchsorted(ordered, ordered, "left")
    upto[order] = np.searchsorted(ordered, ordered, "right")
    return (passed[:, below] + passed[:, upto] + 1) / 2


def _resample(columns: Sequence[_Column], rows: int, seed: int) -> dict[str, np.ndarray]:
    """Every figure (K, R) of R resamples of the rows."""
    resamples = int(np.clip(_MOST_DRAWS // rows, 400, 2000))
    generator = np.random.default_rng(seed)
    parts = []
    step = max(1, _CHUNK // rows)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(0, rows, (size, rows)) + rows * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * rows).reshape(size, rows).astype(np.float64)
        parts.append([column.figures(counts) for column in columns])
    return {
        key: np.stack([np.concatenate([part[k][key] for part in parts]) for k in range(len(columns))])
        for key in parts[0][0]
    }


def _described(
    points: Mapping[str, float], draws: Mapping[str, np.ndarray] | None, notes: Mapping[str, str]
) -> dict[str, Any]:
    """Figures in plain Python, and their intervals."""
    result: dict[str, Any] = {}
    intervals: dict[str, Any] = {"level": LEVEL}
    for key, value in points.items():
        # Predictions may vary by less than their squares can show.
        note = notes.get(f"{key}_note", None if np.isfinite(value) else "undefined: the numbers hardly vary")
        result[key] = None if note else value
        if note:
            result[f"{key}_note"] = note
        defined = np.empty(0) if draws is None or note else draws[key][np.isfinite(draws[key])]
        ends = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if len(defined) else None
        intervals[key] = None if ends is None else [float(end) for end in ends]
    return {**result, "confidence_interval": intervals}
