"""The picture of predicted numbers against true ones."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tftransformer.data.numbers import as_numbers
from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, GREY, drawable, new_figure, plain_axes, save

_PANELS = 6
_COLUMNS = 3
_CELLS = 40  # a side, among which points are counted


def plot_predictions(
    targets: Any,
    predictions: Any,
    path: str | os.PathLike,
    names: Sequence[str] | None = None,
    *,
    title: str = "",
) -> None:
    """Draw predictions against targets, a panel a number, with the line on which both are equal.

    The more points lie in one place, the paler all of a panel are, so that dense regions keep their shape. Both axes
    are in the unit of the targets. Of more than six numbers the first six are drawn.

    Args:
        targets: (B,) or (B, K) numbers.
        predictions: As the targets.
        path: The PNG.
        names: K names of the numbers; none by default.
        title: Title above everything; none by default.

    Raises:
        TransformerError: Shapes, names or values that do not fit, or the disk refused.

    Example:
        >>> plot_predictions([1.0, 2.0, 4.0], [1.5, 2.0, 3.5], "predictions.png", ["stars"])
    """
    pair = [as_numbers(targets, "targets", dtype="float64"), as_numbers(predictions, "predictions", dtype="float64")]
    actual, predicted = (values[:, None] if values.ndim == 1 else values for values in pair)
    if not actual.size or actual.shape != predicted.shape:
        raise TransformerError(
            f"targets and predictions must have one shape and at least one number; got shapes {pair[0].shape} and "
            f"{pair[1].shape}"
        )
    number = actual.shape[1]
    if names is not None and (isinstance(names, str) or len(names) != number):
        raise TransformerError(f"names must be {number}, one a number; got {names!r:.80}")
    shown, fonts = drawable([""] * number if names is None else names)
    panels = min(number, _PANELS)
    columns = min(panels, _COLUMNS)
    lines = -(-panels // columns)
    figure = new_figure(4.6 * columns, 4.5 * lines + (0.4 if title or number > panels else 0))
    for k in range(panels):
        axes = figure.add_subplot(lines, columns, k + 1)
        _panel(axes, actual[:, k], predicted[:, k])
        head = f"{shown[k]}\n" if names is not None else ""
        axes.set_title(head + _summary(actual[:, k], predicted[:, k]), fontsize=10, family=fonts, parse_math=False)
    more = f"the first {panels} of {number} numbers" if number > panels else ""
    if above := "; ".join(part for part in (title, more) if part):
        (text,), fonts = drawable([above], longest=90)
        figure.get_layout_engine().set(h_pad=0.1)
        figure.suptitle(text, fontsize=11, family=fonts, parse_math=False)
    save(figure, path)


def _panel(axes: Axes, actual: np.ndarray, predicted: np.ndarray) -> None:
    plain_axes(axes)
    low, high = min(actual.min(), predicted.min()), max(actual.max(), predicted.max())
    margin = 0.04 * (high - low) or max(1e-3 * abs(low), 0.5)
    ends = low - margin, high + margin
    axes.plot(ends, ends, color=GREY, linestyle=(0, (4, 4)), linewidth=1, zorder=1)
    size = float(np.clip(600 / len(actual) ** 0.6, 4, 36))
    axes.scatter(actual, predicted, s=size, color=COLOURS[0], alpha=_opacity(actual, predicted, ends), linewidths=0)
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="target", ylabel="prediction")


def _opacity(actual: np.ndarray, predicted: np.ndarray, ends: tuple[float, float]) -> float:
    """Less, the more points share a cell of the picture with the average one."""
    edges = np.linspace(*ends, _CELLS + 1)
    counts, _, _ = np.histogram2d(actual, predicted, (edges, edges))
    crowd = (counts**2).sum() / len(actual)
    return float(np.clip(1 / np.sqrt(crowd), 0.12, 0.75))


def _summary(actual: np.ndarray, predicted: np.ndarray) -> str:
    mae = f"MAE {np.abs(predicted - actual).mean():.3g}"
    if np.ptp(actual) == 0 or np.ptp(predicted) == 0:
        return f"Pearson undefined, {mae}"
    return f"Pearson {np.corrcoef(actual, predicted)[0, 1]:.3f}, {mae}"
