"""Stratified folds: every row is held out once, labels in like shares, and equal texts never on both sides."""

import warnings
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tftransformer.data.folding import fold_record
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError


def stratified_folds(
    data: Split, folds: int = 5, seed: int = 0, groups: Sequence[Hashable] | None = None
) -> list[np.ndarray]:
    """The rows to hold out in each fold.

    Folds are disjoint and cover all rows. Rows with the same text (after folding of case and white space) share a
    fold, and so do rows of one group. Several labels a text: it counts for the rarest of them.

    Args:
        data: Labelled rows.
        folds: How many.
        seed: The same seed gives the same folds.
        groups: For each row what it belongs to, such as an author or a patient.

    Returns:
        `folds` arrays of row numbers, each in order.

    Raises:
        TransformerError: No labels, fewer than two folds, or too few rows, texts or groups for so many.

    Example:
        >>> data = Split(list("abcdef"), ["x", "y"] * 3)
        >>> [len(rows) for rows in stratified_folds(data, folds=3)]
        [2, 2, 2]
    """
    if data.targets is None:
        raise TransformerError("data must have labels to be stratified by; got a split without any")
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise TransformerError(f"folds must be an integer of at least 2; got {folds!r}")
    if groups is not None and len(groups) != len(data):
        raise TransformerError(f"groups must be as many as rows, {len(data)}; got {len(groups)}")
    joined = _joined(data, groups)
    distinct = len(set(joined))
    if distinct < folds:
        what = "texts" if groups is None else "groups"
        raise TransformerError(
            f"folds must be at most the number of distinct {what}, {distinct}; got {folds}"
        )
    strata = _strata(data)
    most = max(Counter(strata).values())
    if most < folds:
        raise TransformerError(f"folds must be at most the rows of the commonest label, {most}; got {folds}")
    alone = distinct == len(data)
    splitter = (StratifiedKFold if alone else StratifiedGroupKFold)(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # A label with fewer rows than folds is missing from some of them, which is no reason to stop.
        warnings.filterwarnings("ignore", message="The least populated class")
        held_out = [rows for _, rows in splitter.split(strata, strata, None if alone else joined)]
    for number, rows in enumerate(held_out, 1):
        if not len(rows):
            raise TransformerError(
                f"folds must be few enough for every fold to get rows; fold {number} of {folds} gets none, because "
                "groups are too unequal"
            )
    return [np.sort(rows) for rows in held_out]


def _joined(data: Split, groups: Sequence[Hashable] | None) -> list[int]:
    """A number for each row, equal where rows share a text or a group, also by way of others."""
    parent = list(range(len(data)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    keys = [[fold_record(text) for text in data.texts]]
    if groups is not None:
        keys.append(list(groups))
    for column in keys:
        first: dict[Hashable, int] = {}
        for row, key in enumerate(column):
            parent[root(row)] = root(first.setdefault(key, row))
    return [root(row) for row in range(len(data))]


def _strata(data: Split) -> list[str]:
    if not data.multi_label:
        return list(data.targets)
    counts = Counter(label for target in data.targets for label in target)
    return [min(target, key=lambda label: (counts[label], label), default="") for target in data.targets]
