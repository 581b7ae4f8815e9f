"""Cutting a split in two: stratified by label or number, seeded, and grouped by folded text.

All rows of one folded text stay on one side, whatever their labels are, so that no text of the part
cut off is seen in training.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold

from tftransformer.data.dedup import dedup_key
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError


def _groups(split: Split) -> list[list[int]]:
    """Rows that share a folded text, in order of first appearance."""
    groups: dict = {}
    for row, text in enumerate(split.texts):
        groups.setdefault(dedup_key(text), []).append(row)
    return list(groups.values())


def _strata(split: Split, groups: list[list[int]]) -> dict[str, list[list[int]]]:
    """Groups by the rarest label they carry: a rare label has to be spread with care, a common one
    spreads by itself."""
    counts = Counter(label for labels in split.strata for label in labels)
    strata: dict[str, list[list[int]]] = {}
    for group in groups:
        labels = {label for row in group for label in split.strata[row]}
        rarest = min(labels, key=lambda label: (counts[label], label), default="")
        strata.setdefault(rarest, []).append(group)
    return strata


def _choose(groups: list[list[int]], wanted: float, rng: np.random.Generator) -> list[list[int]]:
    """Whole groups of about `wanted` rows. At least one group stays; at least one goes if three are there."""
    order = [groups[i] for i in rng.permutation(len(groups))]
    chosen, size = [], 0
    for group in order:
        needed = len(groups) >= 3 and not chosen
        if len(chosen) + 1 == len(groups):
            break
        if needed or size + len(group) / 2 <= wanted:
            chosen.append(group)
            size += len(group)
    return chosen


def train_test_split(split: Split, fraction: float, seed: int = 0, name: str = "test") -> tuple[Split, Split]:
    """Cuts a fraction of the rows off: disjoint by folded text, and the same fraction of each label.

    Args:
        split: The rows to divide.
        fraction: Fraction of the rows to cut off, above 0 and below 1. Groups are never divided, so it
            is met to within one group a label; a label with fewer than three distinct texts may
            be missing from the part cut off, but never from what remains.
        seed: Random seed: the same one cuts the same rows.
        name: Name of the part cut off.

    Returns:
        (what remains, what was cut off), each in the order of the source.

    Raises:
        TransformerError: if the fraction is out of range, or no text can go without a label being lost.

    Example:
        >>> rest, part = train_test_split(Split(list("abcdefghij"), ["x", "y"] * 5), 0.2)
        >>> len(rest), sorted(part.targets)
        (8, ['x', 'y'])
    """
    if not 0 < fraction < 1:
        raise TransformerError(f"{name}_fraction must be above 0 and below 1; got {fraction}")
    groups = _groups(split)
    rng = np.random.default_rng([seed, len(name), *name.encode()])
    chosen: list[list[int]] = []
    owed = 0.0
    for _, members in sorted(_strata(split, groups).items()):
        # What rounding left over in one label is made up for in the next.
        wanted = fraction * sum(map(len, members)) + owed
        taken = _choose(members, wanted, rng)
        owed = min(1.0, max(-1.0, wanted - sum(map(len, taken))))
        chosen.extend(taken)
    chosen = _keep_every_label(split, groups, chosen)
    if not chosen:
        raise TransformerError(
            f"{split.source or split.name} has too few texts, {len(groups)}, to cut a {name} split off and"
            f" keep every label; name a file for {name} or set {name}_fraction=0"
        )
    cut_off = {row for group in chosen for row in group}
    rest = split.take(row for row in range(len(split)) if row not in cut_off)
    return rest, replace(split.take(sorted(cut_off)), name=name)


def _keep_every_label(split: Split, groups: list[list[int]], chosen: list[list[int]]) -> list[list[int]]:
    """Gives groups back whose labels would otherwise be in the part cut off alone."""
    taken = {row for group in chosen for row in group}
    left = {label for row in range(len(split)) if row not in taken for label in split.labels_of(row)}
    kept = []
    for group in chosen:
        labels = {label for row in group for label in split.labels_of(row)}
        if labels <= left:
            kept.append(group)
        else:
            left |= labels
    return kept


def subset(split: Split, count: int, seed: int = 0) -> Split:
    """The rows of `subset_rows`; the split itself if it is smaller.

    Raises:
        TransformerError: if count is below 1.

    Example:
        >>> subset(Split(list("abcdef"), ["x"] * 4 + ["y"] * 2), 3).labels
        ('x', 'y')
    """
    rows = subset_rows(split, count, seed)
    return split if len(rows) == len(split) else split.take(rows)


def subset_rows(split: Split, count: int, seed: int = 0) -> Sequence[int]:
    """A seeded, stratified choice of `count` rows, in source order; all rows if there are not more.

    Every label keeps at least one row where `count` allows it.

    Raises:
        TransformerError: if count is below 1.
    """
    if count < 1:
        raise TransformerError(f"train_examples must be at least 1; got {count}")
    if count >= len(split):
        return range(len(split))
    rng = np.random.default_rng([seed, 1])
    by_label: dict = {}
    for row in rng.permutation(len(split)):
        by_label.setdefault(split.strata[row], []).append(int(row))
    # Each row's rank within its label, from 0 to 1: taking the smallest takes every label evenly.
    ranks = [
        ((position + 0.5) / len(rows) if position else -1.0 / len(rows), row)
        for _, rows in sorted(by_label.items())
        for position, row in enumerate(rows)
    ]
    return sorted(row for _, row in sorted(ranks)[:count])


def fold_rows(targets: np.ndarray, count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divide rows into folds, seeded, and stratified where a row has one label.

    Args:
        targets: (B,) ids, or (B, C) for several labels a row.
        count: Number of folds; fewer where no label has so many rows. A label with fewer is missing from some folds.
        seed: Random seed.

    Returns:
        For each fold the rows of the others, and its own; none where there would be fewer than two folds.

    Example:
        >>> [rest.tolist() for _, rest in fold_rows(np.array([0, 0, 1, 1]), 2)]
        [[1, 2], [0, 3]]
    """
    single = targets.ndim == 1
    count = min(count, len(targets), int(np.bincount(targets).max(initial=0)) if single else len(targets))
    if count < 2:
        return []
    folds = (StratifiedKFold if single else KFold)(count, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Of the label that is missing from a fold.
        warnings.simplefilter("ignore", UserWarning)
        return list(folds.split(np.zeros(len(targets)), targets if single else None))
