"""drift.png: how far new texts are beyond noise, and what is predicted for them."""

import os
from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import PercentFormatter

from tftransformer.errors import TransformerError
from tftransformer.evaluation.figures import COLOURS, GREY, drawable, new_figure, plain_axes, save

_WIDEST = 6.0
_LABELS = 20


def plot_drift(
    path: str | os.PathLike,
    measures: Sequence[str],
    ratios: Sequence[float],
    labels: Sequence[str],
    old: Sequence[float],
    new: Sequence[float],
) -> None:
    """Draw a bar for each measure, 1 being the end of noise, and the shares of predicted labels.

    Args:
        path: The PNG.
        measures: Names of the measures.
        ratios: Distance divided by noise of each; bars end at 6.
        labels: Names of the classes; the 20 whose shares changed most are drawn.
        old, new: The share of old and of new texts that each label is predicted for.

    Raises:
        TransformerError: Lengths that differ, or the disk refused.

    Example:
        >>> plot_drift("drift.png", ["length"], [2.5], ["no", "yes"], [0.5, 0.5], [0.2, 0.8])
    """
    if len(measures) != len(ratios) or len({len(labels), len(old), len(new)}) > 1:
        raise TransformerError(
            f"measures must be as many as ratios, and labels as their shares; got {len(measures)}, {len(ratios)}, "
            f"{len(labels)}, {len(old)}, {len(new)}"
        )
    chosen = np.sort(np.argsort(-np.abs(np.subtract(new, old)), kind="stable")[:_LABELS])
    names, fonts = drawable([labels[i] for i in chosen])
    figure = new_figure(10.0, max(3.0, 0.34 * max(len(measures), len(chosen)) + 1.4))
    left, right = figure.subplots(1, 2)
    places = np.arange(len(measures))
    colours = [COLOURS[1] if ratio > 1 else GREY for ratio in ratios]
    left.barh(places, np.minimum(ratios, _WIDEST), color=colours, height=0.6)
    for place, ratio in zip(places, ratios):
        text = f"{ratio:.1f}" if ratio < 100 else ">100"
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        left.text(min(ratio, _WIDEST) + 0.08, place, text, va="center", fontsize=8, bbox=behind)
    left.axvline(1.0, color="#202020", linewidth=1.2, linestyle="--")
    left.set_xlim(0, _WIDEST + 0.9)
    left.set_yticks(places, measures)
    left.invert_yaxis()
    left.set_xlabel("distance, in multiples of noise (dashed: its end)")
    places = np.arange(len(chosen))
    for shift, shares, title, colour in ((-0.2, old, "before", GREY), (0.2, new, "new", COLOURS[0])):
        right.barh(places + shift, [shares[i] for i in chosen], height=0.38, color=colour, label=title)
    right.set_yticks(places, names, family=fonts)
    for label in right.get_yticklabels():
        label.set_parse_math(False)
    right.invert_yaxis()
    right.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.set_xlabel("predicted for this share of the texts")
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        plain_axes(axes)
    save(figure, path)
