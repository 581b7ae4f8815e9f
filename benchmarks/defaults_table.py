"""Tables and plot of `defaults.py`: means, paired differences with their intervals, the ceiling; nothing is filled in."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from defaults_cells import GRID_RATES, GRID_UPDATES, NO_ENCODER, WORKERS, Cell, size_name
from defaults_sets import HALVES, SETS

from tftransformer.evaluation.figures import COLOURS, GREY, STYLES, new_figure, plain_axes, save
from tftransformer.files import write_text

DRAWS = 10_000
MISSING = "–"
OURS = "ours"
_MARKS = "osD^vP*X"
_CEILING = "ceiling (best of the grid on the test rows)"
# (set, seed) of a training.
Pair = tuple[str, int]

_NOTES = f"""\
Accuracy and macro F1 on the same test rows, at most 1,000 of each set's; means over sets and seeds. A mean is of a
contender that has every training that `ours` has at that size; {MISSING} is where one is missing. The difference is ours
minus the contender on the trainings that both have, with a 95 % bootstrap interval ({DRAWS:,} draws of sets, and of seeds
within them). The ceiling is, for each set and size, the best of ours at {len(GRID_RATES)} rates and {len(GRID_UPDATES)}
numbers of updates, chosen on the test rows by the mean over the seeds: more than a user can reach by tuning. Seconds are
of the training with the loading of the encoder.
"""


@dataclasses.dataclass(frozen=True)
class Difference:
    """A mean of paired differences; without an interval where there is one pair alone."""

    mean: float
    low: float | None
    high: float | None
    pairs: int


def paired_difference(differences: Mapping[str, Sequence[float]]) -> Difference | None:
    """Average the differences, by set those of its seeds, over seeds and then sets, with a 95 % bootstrap interval of both."""
    values = [np.array(of_set, float) for of_set in differences.values() if len(of_set)]
    pairs = sum(map(len, values))
    if not pairs:
        return None
    mean = float(np.mean([of_set.mean() for of_set in values]))
    if pairs == 1:
        return Difference(mean, None, None, 1)
    draw = np.random.default_rng(0)
    total = np.zeros(DRAWS)
    for _ in values:
        # Seeds are drawn anew for each place a set is drawn for.
        seeds = [of_set[draw.integers(len(of_set), size=(DRAWS, len(of_set)))].mean(axis=1) for of_set in values]
        total += np.stack(seeds)[draw.integers(len(values), size=DRAWS), np.arange(DRAWS)]
    low, high = np.quantile(total / len(values), (0.025, 0.975))
    return Difference(mean, float(low), float(high), pairs)


def mean_over(values: Mapping[Pair, float], pairs: set[Pair]) -> float | None:
    """Return the mean over sets of the means over seeds; None unless every pair is there."""
    if not pairs or not pairs <= set(values):
        return None
    by_set: dict[str, list[float]] = {}
    for name, seed in sorted(pairs):
        by_set.setdefault(name, []).append(values[name, seed])
    return float(np.mean([np.mean(of_set) for of_set in by_set.values()]))


class Results:
    """Finished cells of `read_cells`, looked up by what is compared; those that failed are left out."""

    def __init__(self, cells: Mapping[Cell, Mapping[str, Any]]) -> None:
        done = {cell: piece for cell, piece in cells.items() if "failure" not in piece}
        kinds = list(WORKERS)
        named = sorted({cell.contender for cell in done}, key=lambda name: (kinds.index(name.partition(":")[0]), name))
        self.contenders = [name for name in named if not name.startswith("grid:")]
        self._grid = [name for name in named if name.startswith("grid:")]
        self._index: dict[tuple[str, int, str], list[tuple[Cell, Mapping[str, Any]]]] = {}
        for cell in sorted(done, key=lambda cell: cell.seed):
            self._index.setdefault((cell.contender, cell.size, cell.set), []).append((cell, done[cell]))
        self._sets = {cell.set for cell in done}
        self.encoders = sorted({cell.encoder for cell in done} - {NO_ENCODER}) or [NO_ENCODER]
        self.sizes = sorted({cell.size for cell in done})

    def sets(self, half: str) -> list[str]:
        """Return the sets of a half of which there are cells."""
        return [name for name in HALVES[half] if name in self._sets]

    def values(self, encoder: str, size: int, contender: str, sets: Iterable[str], measure: str) -> dict[Pair, float]:
        """Return a measure of a contender by set and seed; who has no encoder is the same under each."""
        return {
            (name, cell.seed): piece[measure]
            for name in sets
            for cell, piece in self._index.get((contender, size, name), ())
            if cell.encoder in (encoder, NO_ENCODER)
        }

    def compared(self, encoder: str, size: int, sets: Sequence[str]) -> set[Pair]:
        """Return the sets and seeds that a mean must have: those of ours; without ours, those of anybody."""
        ours = set(self.values(encoder, size, OURS, sets, "accuracy"))
        everybody = (self.values(encoder, size, name, sets, "accuracy") for name in self.contenders)
        return ours or set().union(*everybody)

    def ceiling(self, encoder: str, size: int, name: str, seeds: set[int], measure: str) -> tuple[str, float] | None:
        """Return the setting of the grid that is best on a set, and its mean; of those that have all these seeds."""
        pairs = {(name, seed) for seed in seeds}
        means = {c: mean_over(self.values(encoder, size, c, [name], measure), pairs) for c in self._grid}
        whole = [(setting, mean) for setting, mean in means.items() if mean is not None]
        return max(whole, key=lambda pair: pair[1], default=None)

    def mean_ceiling(self, encoder: str, size: int, pairs: set[Pair], measure: str) -> float | None:
        """Return the mean over sets of their ceilings; None where a set has none."""
        found = []
        for name in sorted({name for name, _ in pairs}):
            seeds = {seed for other, seed in pairs if other == name}
            found.append(self.ceiling(encoder, size, name, seeds, measure))
        return float(np.mean([best[1] for best in found])) if found and None not in found else None


def summary(results: Results, encoder: str, half: str, size: int) -> str:
    """Write the table of one half and size: a row for each contender."""
    sets = results.sets(half)
    pairs = results.compared(encoder, size, sets)
    if not pairs:
        return ""
    ours = results.values(encoder, size, OURS, sets, "accuracy")
    ceiling = results.mean_ceiling(encoder, size, pairs, "accuracy")
    with_cells = {name for name, _ in pairs}
    rows = [["contender", "accuracy %", "macro F1 %", "ours − contender (95 %)", "of trainings", "to the ceiling", "s"]]
    for contender in results.contenders:
        measures = ("accuracy", "macro_f1", "seconds")
        values, *others = (results.values(encoder, size, contender, sets, measure) for measure in measures)
        mean, f1, seconds = (mean_over(found, pairs) for found in (values, *others))
        both = sorted(set(values) & set(ours)) if contender != OURS else []
        by_set = {name: [ours[p] - values[p] for p in both if p[0] == name] for name in sets}
        to_ceiling = None if mean is None or ceiling is None else mean - ceiling
        difference, trainings = interval(paired_difference(by_set)), f"{len(set(values) & pairs)} of {len(pairs)}"
        time = MISSING if seconds is None else f"{seconds:.1f}"
        rows.append([contender, percent(mean), percent(f1), difference, trainings, percent(to_ceiling, "+"), time])
    if ceiling is not None:
        macro = results.mean_ceiling(encoder, size, pairs, "macro_f1")
        rows.append(["ceiling", percent(ceiling), percent(macro), *4 * [MISSING]])
    title = f"### {half}, {size_name(size)}, {encoder}: {len(with_cells)} of {len(HALVES[half])} sets, {len(pairs)} trainings"
    return f"{title}\n\n{_pipes(rows, ['---', *6 * ['--:']])}"


def full_table(results: Results, encoder: str, measure: str) -> str:
    """Write every set and size: the mean over the seeds of each contender, and of how many where some are missing."""
    rows = [["half", "set", "size", *results.contenders, "ceiling", "its setting"]]
    for half in HALVES:
        for name in results.sets(half):
            for size in results.sizes:
                found = {c: results.values(encoder, size, c, [name], measure) for c in results.contenders}
                pairs = set().union(*found.values())
                if not pairs:
                    continue
                best = results.ceiling(encoder, size, name, {seed for _, seed in pairs}, measure)
                cells = [_of_seeds(found[c], pairs) for c in results.contenders]
                ceiling = (percent(best[1]), best[0]) if best else (MISSING, MISSING)
                rows.append([half, name, size_name(size), *cells, *ceiling])
    return _pipes(rows, ["---", "---", "---", *("--:" for _ in results.contenders), "--:", "---"])


def _of_seeds(values: Mapping[Pair, float], pairs: set[Pair]) -> str:
    if not values:
        return MISSING
    missing = f" ({len(values)} of {len(pairs)})" if len(values) < len(pairs) else ""
    return percent(float(np.mean(list(values.values())))) + missing


def _pipes(rows: Sequence[Sequence[str]], rule: Sequence[str]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in [rows[0], rule, *rows[1:]])


def percent(value: float | None, sign: str = "") -> str:
    """Write a fraction in percent: 81.25, with a sign +1.00."""
    return MISSING if value is None else f"{100 * value:{sign}.2f}"


def interval(difference: Difference | None) -> str:
    """Write a difference in percentage points with its interval."""
    if difference is None:
        return MISSING
    ends = "" if difference.low is None else f" ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"
    return percent(difference.mean, "+") + ends


def tables(cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Write the whole text: for each half, encoder and size, then set by set, then what failed."""
    results = Results(cells)
    parts = ["# Defaults, side by side\n", _NOTES]
    for half in HALVES:
        lengths = ", ".join(f"{name} ({SETS[name].length} tokens)" for name in HALVES[half])
        found = [summary(results, encoder, half, size) for encoder in results.encoders for size in results.sizes]
        if any(found):
            parts += [f"## The half {half}: {lengths}\n", *filter(None, found)]
    for measure, title in (("accuracy", "Accuracy %"), ("macro_f1", "Macro F1 %")):
        for encoder in results.encoders:
            parts += [f"## {title} by set, {encoder}\n", full_table(results, encoder, measure)]
    failed = [f"- {cell.describe()}: {piece['failure']}\n" for cell, piece in cells.items() if "failure" in piece]
    if failed:
        parts.append("## Failed\n\n" + "".join(failed))
    return "\n".join(parts)


def write_table(folder: Path, cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Write `defaults.md` into a folder; return its text."""
    text = tables(cells)
    write_text(Path(folder) / "defaults.md", text)
    return text


def plot_cells(path: Path, cells: Mapping[Cell, Mapping[str, Any]]) -> None:
    """Draw accuracy over the number of rows: the mean of each contender that has all that is compared, a panel a half and encoder."""
    results = Results(cells)
    found = {(half, encoder): curves(results, half, encoder) for half in HALVES for encoder in results.encoders}
    panels = {panel: lines for panel, lines in found.items() if any(lines.values())}
    if not panels:
        return
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    drawing = new_figure(5.2 * columns, 3.9 * rows + 0.5)
    shown: dict[str, Any] = {}
    for place, ((half, encoder), lines) in enumerate(panels.items(), start=1):
        axes = drawing.add_subplot(rows, columns, place)
        plain_axes(axes)
        for name, points in lines.items():
            if points:
                at, heights = [results.sizes.index(size) for size in points], [100 * y for y in points.values()]
                look = {"linewidth": 1.6, "markersize": 5, **_look(results, name)}
                (shown[name],) = axes.plot(at, heights, label=name, **look)
        axes.set_xticks(range(len(results.sizes)), [size_name(size) for size in results.sizes])
        axes.set_xlim(-0.3, len(results.sizes) - 0.7)
        axes.set_title(f"half {half}, encoder {encoder}", fontsize=11, loc="left")
        axes.set_ylabel("mean accuracy of the sets, %", fontsize=9)
    place = {"loc": "outside lower center", "ncols": 2 * columns, "fontsize": 9, "frameon": False}
    drawing.legend(shown.values(), shown.keys(), **place)
    save(drawing, path)


def curves(results: Results, half: str, encoder: str) -> dict[str, dict[int, float]]:
    """Return by contender the mean accuracy at each size at which it has every training that is compared."""
    sets = results.sets(half)
    found: dict[str, dict[int, float]] = {name: {} for name in (*results.contenders, _CEILING)}
    for size in results.sizes:
        pairs = results.compared(encoder, size, sets)
        means = {c: mean_over(results.values(encoder, size, c, sets, "accuracy"), pairs) for c in results.contenders}
        means[_CEILING] = results.mean_ceiling(encoder, size, pairs, "accuracy")
        for name, mean in means.items():
            if mean is not None:
                found[name][size] = mean
    return found


def _look(results: Results, name: str) -> dict[str, str]:
    if name == _CEILING:
        return {"color": GREY, "linestyle": "--", "marker": "_"}
    place = results.contenders.index(name)
    turn = place // len(COLOURS) % len(STYLES)
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": STYLES[turn], "marker": _MARKS[place % len(_MARKS)]}
