"""What is odd about the labels of a data set, before a class is made of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tftransformer.data.folding import fold
from tftransformer.data.labels import is_number
from tftransformer.data.split import Split

# More classes than any usual scale of ratings has.
_MANY_NUMBERS = 20
_DELIMITERS = "|;,"
_MISSING = frozenset({"nan", "none", "null", "na", "n/a", "<na>", "nat"})
_SHOWN = 3


def label_warnings(split: Split) -> list[str]:
    """A line for each thing that is odd about the labels.

    Args:
        split: The training rows.

    Example:
        >>> label_warnings(Split(["a", "b", "c"], ["abbr", "ABBR", "x"]))
        ["'ABBR' and 'abbr' differ in case or space alone, and are 2 classes"]
    """
    targets = split.targets or []
    counts = Counter(label for target in targets for label in (target if split.multi_label else (target,)))
    labels = split.labels
    found = [_numbers(labels), *_missing(counts, labels), *_alike(labels)]
    if not split.multi_label:
        found.append(_delimited(labels))
    return [line for line in found if line]


def _numbers(labels: Sequence[str]) -> str | None:
    if len(labels) <= _MANY_NUMBERS or not all(map(is_number, labels)):
        return None
    ordered = sorted(labels, key=float)
    return f"all {len(labels)} are numbers, {ordered[0]} to {ordered[-1]}, and each is a class; a column of quantities or ids?"


def _missing(counts: Counter, labels: Sequence[str]) -> list[str]:
    return [
        f"{label!r} ({counts[label]:,} row{'' if counts[label] == 1 else 's'}) reads like a missing label, and is a class"
        for label in labels
        if label.casefold() in _MISSING
    ]


def _alike(labels: Sequence[str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for label in labels:
        groups.setdefault(fold(label), []).append(label)
    return [
        f"{' and '.join(map(repr, group[:_SHOWN]))} differ in case or space alone, and are {len(group)} classes"
        for group in groups.values()
        if len(group) > 1
    ]


def _delimited(labels: Sequence[str]) -> str | None:
    """Labels that are lists of others, if each of their parts is also a label or a part of another list."""
    for delimiter in _DELIMITERS:
        lists = {
            label: [part.strip() for part in label.split(delimiter)] for label in labels if delimiter in label
        }
        known = Counter(part for parts in lists.values() for part in set(parts))
        known.update(label for label in labels if label not in lists)
        several = [label for label, parts in lists.items() if all(part and known[part] > 1 for part in parts)]
        if several:
            shown = ", ".join(map(repr, several[:_SHOWN])) + (", …" if len(several) > _SHOWN else "")
            return f"{shown} read{'s' if len(several) == 1 else ''} like several labels; if so, set label_delimiter to {delimiter!r}"
    return None
