"""The plot of `defaults.py`: accuracy over the number of rows, a panel for each half and encoder."""

import os
from collections.abc import Mapping
from typing import Any

from defaults_choice import Cell, size_name
from defaults_sets import HALVES
from defaults_table import Results, ceiling_mean, mean_over

from tftransformer.evaluation.figures import COLOURS, GREY, STYLES, new_figure, plain_axes, save

_MARKS = "osD^vP*X"
_CEILING = "ceiling (best of the grid on the test rows)"


def plot_cells(path: str | os.PathLike, cells: Mapping[Cell, Mapping[str, Any]]) -> None:
    """Draw the mean accuracy of each contender that has all that is compared at a size; nothing without any.

    Args:
        path: The PNG.
        cells: Of `read_cells`.

    Example:
        >>> plot_cells("defaults.png", read_cells("benchmarks/results/defaults"))  # doctest: +SKIP
    """
    results = Results(cells)
    panels = [(half, encoder) for half in HALVES for encoder in results.encoders if results.sets(half)]
    panels = [panel for panel in panels if any(curves(results, *panel).values())]
    if not panels:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    drawing = new_figure(5.2 * columns, 3.9 * rows + 0.5)
    shown: dict[str, Any] = {}
    for place, (half, encoder) in enumerate(panels):
        axes = drawing.add_subplot(rows, columns, place + 1)
        plain_axes(axes)
        for name, points in curves(results, half, encoder).items():
            if points:
                look = _look(results, name)
                at, heights = [results.sizes.index(size) for size in points], [100 * y for y in points.values()]
                (shown[name],) = axes.plot(at, heights, label=name, linewidth=1.6, markersize=5, **look)
        axes.set_xticks(range(len(results.sizes)), [size_name(size) for size in results.sizes])
        axes.set_xlim(-0.3, len(results.sizes) - 0.7)
        axes.set_title(f"half {half}, encoder {encoder}", fontsize=11, loc="left")
        axes.set_ylabel("mean accuracy of the sets, %", fontsize=9)
    drawing.legend(
        shown.values(), shown.keys(), loc="outside lower center", ncols=2 * columns, fontsize=9, frameon=False
    )
    save(drawing, path)


def curves(results: Results, half: str, encoder: str) -> dict[str, dict[int, float]]:
    """By contender the mean accuracy at each size at which it has every training that is compared."""
    sets = results.sets(half)
    found: dict[str, dict[int, float]] = {name: {} for name in (*results.contenders, _CEILING)}
    for size in results.sizes:
        pairs = results.compared(encoder, size, sets)
        for name in results.contenders:
            mean = mean_over(results.values(encoder, size, name, sets, "accuracy"), pairs)
            if mean is not None:
                found[name][size] = mean
        ceiling = ceiling_mean(results, encoder, size, pairs, "accuracy")
        if ceiling is not None:
            found[_CEILING][size] = ceiling
    return found


def _look(results: Results, name: str) -> dict[str, str]:
    if name == _CEILING:
        return {"color": GREY, "linestyle": "--", "marker": "_"}
    place = results.contenders.index(name)
    turn = place // len(COLOURS) % len(STYLES)
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[turn], "marker": _MARKS[place % len(_MARKS)]}
