"""One picture of a comparison: a bar for each row's median, with a whisker from the lowest to the highest round."""

import os
from collections.abc import Mapping

from sidebyside.table import Rows, figure
from tftransformer.evaluation.figures import COLOURS, GREY, new_figure, plain_axes, save


def plot_bars(path: str | os.PathLike, panels: Mapping[str, tuple[Rows, str, str]], ours: str = "ours") -> None:
    """Draw a panel under another, each with one bar a row.

    Args:
        path: The PNG.
        panels: Title to (rows, key, label of the axis); rows without the figure are left out.
        ours: Rows whose name starts with this have another colour.

    Example:
        >>> plot_bars("full.png", {"full": (rows, "examples_per_second", "examples/s")})  # doctest: +SKIP
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
            colour = COLOURS[0] if row["name"].startswith(ours) else GREY
            axes.barh(y, value, color=colour, height=0.7)
            spread = row["figures"].get(key)
            if spread and spread["low"] < spread["high"]:
                axes.plot([spread["low"], spread["high"]], [y, y], color="black", linewidth=1.2)
            axes.annotate(short(value), (value, y), xytext=(5, 4), textcoords="offset points", fontsize=8, va="center")
        axes.set_yticks(range(len(rows)), [row["name"] for row in rows])
        axes.invert_yaxis()
        axes.set_title(title, fontsize=11, loc="left")
        axes.set_xlabel(label, fontsize=9)
    save(drawing, path)


def short(value: float) -> str:
    """Three digits of a number, without an exponent.

    Example:
        >>> short(12345.6), short(0.01234)
        ('12,300', '0.0123')
    """
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{value:.3g}"
