"""comparison.png: quality of fine-tuning strategies against examples, trained parameters and time."""

import os
from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, STYLES, new_figure, plain_axes, save

_MARKERS = "osD^vP*X<>"


def plot_comparison(path: str | os.PathLike, rows: Sequence[Any], figure: str) -> None:
    """Draw the quality of strategies against training rows; and, at the most rows, against parameters and time.

    Args:
        path: The PNG.
        rows: One for each strategy and number of training rows, with the attributes of `strategy_table.Row`.
        figure: The name of what `score` is.

    Raises:
        TransformerError: There is no row, or the disk refused.

    Example:
        >>> from types import SimpleNamespace
        >>> figures = {"rows": 500, "score": 0.8, "deviation": 0.01, "trained": 6000, "seconds": 9.0}
        >>> rows = [SimpleNamespace(strategy=strategy, **figures) for strategy in ("full", "head")]
        >>> plot_comparison("comparison.png", rows, "accuracy")
    """
    if not rows:
        raise TransformerError("rows must be at least one; got none")
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    sizes = sorted({row.rows for row in rows})
    picture = new_figure(13.0, 4.4)
    by_size, by_weights, by_time = picture.subplots(1, 3, sharey=True)
    for place, strategy in enumerate(strategies):
        mine = sorted((row for row in rows if row.strategy == strategy), key=lambda row: row.rows)
        look = {
            "color": COLOURS[place % len(COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)],
            "markersize": 6,
        }
        # A little to the side of one another, so that error bars can be told apart.
        shift = 1.03 ** (place - (len(strategies) - 1) / 2)
        by_size.errorbar(
            [row.rows * shift for row in mine],
            [row.score for row in mine],
            yerr=[row.deviation or 0.0 for row in mine],
            linestyle=STYLES[place // len(COLOURS) % len(STYLES)],
            linewidth=1.4,
            capsize=2,
            label=strategy,
            **look,
        )
        last = mine[-1]
        for axes, value in ((by_weights, last.trained), (by_time, last.seconds)):
            axes.errorbar(
                [value], [last.score], yerr=[last.deviation or 0.0], linestyle="none", capsize=2, **look
            )
    for axes, label in (
        (by_size, "training rows"),
        (by_weights, f"trained parameters, at {sizes[-1]:,} rows"),
        (by_time, f"seconds of training, at {sizes[-1]:,} rows"),
    ):
        plain_axes(axes)
        axes.set_xlabel(label)
    for axes in (by_size, by_weights):
        axes.set_xscale("log")
    by_size.xaxis.set_major_locator(FixedLocator(sizes))
    by_size.xaxis.set_minor_locator(NullLocator())
    by_size.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    by_time.set_xlim(left=0)
    by_size.set_ylabel(figure.replace("_f1", "-F1"))
    by_size.legend(fontsize=8, frameon=False)
    save(picture, path)
