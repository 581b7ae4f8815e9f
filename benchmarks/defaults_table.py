"""The tables of `defaults.py`: means, paired differences with their intervals, the ceiling; nothing is filled in."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from defaults_choice import GRID_RATES, GRID_UPDATES, NO_ENCODER, WORKERS, Cell, size_name
from defaults_sets import HALVES, SETS

from tftransformer.files import write_text

DRAWS = 10_000
MISSING = "–"
OURS = "ours"
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
    """The mean over sets of the means over seeds, with a 95 % bootstrap interval of both.

    Args:
        differences: By set those of its seeds.

    Returns:
        None where there are none.

    Example:
        >>> paired_difference({"sst2": [0.1, 0.1], "rte": [0.1]})
        Difference(mean=0.1, low=0.1, high=0.1, pairs=3)
    """
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


class Results:
    """Finished cells, looked up by what is compared.

    Args:
        cells: Of `read_cells`; those that failed are left out.
    """

    def __init__(self, cells: Mapping[Cell, Mapping[str, Any]]) -> None:
        self._cells = {cell: piece for cell, piece in cells.items() if "failure" not in piece}
        kinds = list(WORKERS)
        named = sorted({c.contender for c in self._cells}, key=lambda n: (kinds.index(n.partition(":")[0]), n))
        self.contenders = [name for name in named if not name.startswith("grid:")]
        self._grid = [name for name in named if name.startswith("grid:")]
        self._index: dict[tuple[str, int, str], list[tuple[Cell, Mapping[str, Any]]]] = {}
        for cell in sorted(self._cells, key=lambda cell: cell.seed):
            self._index.setdefault((cell.contender, cell.size, cell.set), []).append((cell, self._cells[cell]))
        self.encoders = sorted({cell.encoder for cell in self._cells} - {NO_ENCODER}) or [NO_ENCODER]
        self.sizes = sorted({cell.size for cell in self._cells})

    def sets(self, half: str) -> list[str]:
        """The sets of a half of which there are cells."""
        found = {cell.set for cell in self._cells}
        return [name for name in HALVES[half] if name in found]

    def values(self, encoder: str, size: int, contender: str, sets: Iterable[str], measure: str) -> dict[Pair, float]:
        """A measure of a contender by set and seed; who has no encoder is the same under each."""
        return {
            (name, cell.seed): piece[measure]
            for name in sets
            for cell, piece in self._index.get((contender, size, name), ())
            if cell.encoder in (encoder, NO_ENCODER)
        }

    def compared(self, encoder: str, size: int, sets: Sequence[str]) -> set[Pair]:
        """Sets and seeds that a mean must have: those of ours; without ours, those of anybody."""
        ours = set(self.values(encoder, size, OURS, sets, "accuracy"))
        everybody = (self.values(encoder, size, name, sets, "accuracy") for name in self.contenders)
        return ours or set().union(*everybody)

    def ceiling(self, encoder: str, size: int, name: str, seeds: set[int], measure: str) -> tuple[str, float] | None:
        """The setting of the grid that is best on a set, and its mean; of those that have all these seeds."""
        best = None
        for setting in self._grid if seeds else ():
            found = {seed: value for (_, seed), value in self.values(encoder, size, setting, [name], measure).items()}
            if seeds <= set(found):
                mean = float(np.mean([found[seed] for seed in sorted(seeds)]))
                best = max(best or (setting, mean), (setting, mean), key=lambda pair: pair[1])
        return best


def mean_over(values: Mapping[Pair, float], pairs: set[Pair]) -> float | None:
    """The mean over sets of the means over seeds; None unless every pair is there."""
    if not pairs or not pairs <= set(values):
        return None
    by_set: dict[str, list[float]] = {}
    for name, seed in sorted(pairs):
        by_set.setdefault(name, []).append(values[name, seed])
    return float(np.mean([np.mean(of_set) for of_set in by_set.values()]))


def ceiling_mean(results: Results, encoder: str, size: int, pairs: set[Pair], measure: str) -> float | None:
    """The mean over sets of their ceilings; None where a set has none."""
    found = []
    for name in dict.fromkeys(sorted(name for name, _ in pairs)):
        seeds = {seed for other, seed in pairs if other == name}
        found.append(results.ceiling(encoder, size, name, seeds, measure))
    return float(np.mean([best[1] for best in found])) if found and None not in found else None


def summary(results: Results, encoder: str, half: str, size: int) -> str:
    """The table of one half and size: a row for each contender."""
    sets = results.sets(half)
    pairs = results.compared(encoder, size, sets)
    if not pairs:
        return ""
    ours = results.values(encoder, size, OURS, sets, "accuracy")
    ceiling = ceiling_mean(results, encoder, size, pairs, "accuracy")
    with_cells = {name for name, _ in pairs}
    lines = [
        f"### {half}, {size_name(size)}, {encoder}: {len(with_cells)} of {len(HALVES[half])} sets, {len(pairs)} trainings",
        "",
        "| contender | accuracy % | macro F1 % | ours − contender (95 %) | of trainings | to the ceiling | s |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    for contender in results.contenders:
        values = results.values(encoder, size, contender, sets, "accuracy")
        mean = mean_over(values, pairs)
        both = sorted(set(values) & set(ours)) if contender != OURS else []
        by_set = {name: [ours[p] - values[p] for p in both if p[0] == name] for name in with_cells}
        to_ceiling = None if mean is None or ceiling is None else mean - ceiling
        f1, seconds = (
            mean_over(results.values(encoder, size, contender, sets, key), pairs) for key in ("macro_f1", "seconds")
        )
        lines.append(
            f"| {contender} | {percent(mean)} | {percent(f1)} | {interval(paired_difference(by_set))} "
            f"| {len(set(values) & pairs)} of {len(pairs)} | {percent(to_ceiling, '+')} "
            f"| {MISSING if seconds is None else f'{seconds:.1f}'} |"
        )
    if ceiling is not None:
        macro = ceiling_mean(results, encoder, size, pairs, "macro_f1")
        lines.append(
            f"| ceiling | {percent(ceiling)} | {percent(macro)} | {MISSING} | {MISSING} | {MISSING} | {MISSING} |"
        )
    return "\n".join(lines) + "\n"


def full_table(results: Results, encoder: str, measure: str) -> str:
    """Every set and size: the mean over the seeds of each contender, and of how many where some are missing."""
    rows = []
    for half in HALVES:
        for name in results.sets(half):
            for size in results.sizes:
                found = {c: results.values(encoder, size, c, [name], measure) for c in results.contenders}
                pairs = set().union(*found.values())
                if not pairs:
                    continue
                best = results.ceiling(encoder, size, name, {seed for _, seed in pairs}, measure)
                cells = [_of_seeds(found[c], pairs) for c in results.contenders]
                rows.append(
                    [half, name, size_name(size), *cells, percent(best and best[1]), best[0] if best else MISSING]
                )
    head = ["half", "set", "size", *results.contenders, "ceiling", "its setting"]
    rule = ["---", "---", "---", *("--:" for _ in results.contenders), "--:", "---"]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows]) + "\n"


def _of_seeds(values: Mapping[Pair, float], pairs: set[Pair]) -> str:
    if not values:
        return MISSING
    missing = f" ({len(values)} of {len(pairs)})" if len(values) < len(pairs) else ""
    return percent(float(np.mean(list(values.values())))) + missing


def percent(value: float | None, sign: str = "") -> str:
    """A fraction in percent.

    Example:
        >>> percent(0.8125), percent(0.01, "+"), percent(None)
        ('81.25', '+1.00', '–')
    """
    return MISSING if value is None else f"{100 * value:{sign}.2f}"


def interval(difference: Difference | None) -> str:
    """A difference in percentage points with its interval."""
    if difference is None:
        return MISSING
    ends = "" if difference.low is None else f" ({100 * difference.low:+.2f} to {100 * difference.high:+.2f})"
    return percent(difference.mean, "+") + ends


def failures(cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """A line for each cell that failed."""
    found = [f"- {cell.describe()}: {piece['failure']}\n" for cell, piece in cells.items() if "failure" in piece]
    return "## Failed\n\n" + "".join(found) if found else ""


def tables(cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """The whole text: for each half, encoder and size, then set by set, then what failed."""
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
    parts.append(failures(cells))
    return "\n".join(filter(None, parts))


def write_table(folder: Path, cells: Mapping[Cell, Mapping[str, Any]]) -> str:
    """Write `defaults.md` into a folder; its text."""
    text = tables(cells)
    write_text(Path(folder) / "defaults.md", text)
    return text
