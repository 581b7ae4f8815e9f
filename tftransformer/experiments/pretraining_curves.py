"""curves.png: how the losses of a pretraining run fell."""

import os
from collections.abc import Mapping, Sequence

from tftransformer.evaluation.figures import COLOURS, GREY, new_figure, plain_axes, save

# Terms of the loss, their titles and units.
TERMS = {
    "masked_lm": ("masked words", "nats a token"),
    "inner": ("inner blocks", "relative error"),
    "word": ("words", "relative error"),
    "sentence": ("texts", "relative error"),
}


def plot_curves(path: str | os.PathLike, log: Sequence[Mapping[str, float]]) -> None:
    """Draw each term of the loss against the tokens seen, in training and on held-out text.

    Args:
        path: The PNG.
        log: Rows as `read_log` gives them.
    """
    terms = [term for term in TERMS if any(f"heldout_{term}" in row for row in log)]
    figure = new_figure(4.2 * max(len(terms), 1), 3.4)
    for number, term in enumerate(terms):
        axes = figure.add_subplot(1, len(terms), number + 1)
        plain_axes(axes)
        for name, colour, label in ((term, GREY, "training"), (f"heldout_{term}", COLOURS[0], "held out")):
            points = [(row["tokens"] / 1e6, row[name]) for row in log if name in row]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=label, linewidth=1.6)
        title, unit = TERMS[term]
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("million tokens", fontsize=9)
        axes.set_ylabel(unit, fontsize=9)
        axes.legend(fontsize=8, frameon=False)
    save(figure, path)
