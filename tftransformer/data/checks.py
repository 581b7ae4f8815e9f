"""The data report: what is in the splits and what is wrong with them, before anything is trained.

Texts are compared folded (dedup.py): Unicode NFKC, case folding, whitespace; pairs by both sides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from tftransformer.data.data_report import DataReport, Leak, SplitReport
from tftransformer.data.dedup import dedup_key, normalize_for_dedup
from tftransformer.data.labels import is_number
from tftransformer.data.split import Split, Splits
from tftransformer.data.tagged import TaggedSplits
from tftransformer.errors import TransformerError

AnySplits = TypeVar("AnySplits", Splits, TaggedSplits)
PERCENTILES = (50, 90, 95, 99, 100)
EXAMPLES = 3


def check(
    splits: Splits | TaggedSplits,
    token_lengths: Mapping[str, Sequence[int] | np.ndarray] | None = None,
    sequence_length: int | None = None,
) -> DataReport:
    """Examines the splits.

    Args:
        splits: Splits, as `load` and `load_tagged` give them; of tagged sentences, a label is each tag that occurs in one.
        token_lengths: Tokens of each row before trimming, special tokens included (`Examples.full_lengths`),
            by the name of the split.
        sequence_length: Tokens a row is trimmed to.

    Raises:
        TransformerError: if token lengths are not as many as the rows of their split.

    Example:
        >>> train = Split(["Good!", "bad"], ["1", "0"])
        >>> check(Splits(train, None, Split(["good!  "], ["1"], "test"))).leaks["train/test"].rows
        1
    """
    splits = splits.as_texts() if isinstance(splits, TaggedSplits) else splits
    present = splits.present()
    token_lengths = dict(token_lengths or {})
    for name, lengths in token_lengths.items():
        if name not in present or len(lengths) != len(present[name]):
            rows = len(present[name]) if name in present else 0
            raise TransformerError(
                f"token_lengths must have one number for each of the {rows} rows of {name}; got {len(lengths)}"
            )
    keys = {name: [dedup_key(text) for text in split.texts] for name, split in present.items()}
    labels = {name: _labels_by_text(keys[name], split) for name, split in present.items()}
    known = splits.train.labels
    reports = {
        name: _split_report(split, keys[name], labels[name], known, token_lengths.get(name), sequence_length)
        for name, split in present.items()
    }
    leaks = {}
    for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
        if first in present and second in present:
            leak = _leak(present[first], keys[first], labels[first], labels[second])
            if leak.rows:
                leaks[f"{first}/{second}"] = leak
    everywhere: dict = {}
    for of_split in labels.values():
        for key, kinds in of_split.items():
            everywhere.setdefault(key, set()).update(kinds)
    conflicts = [(key, kinds) for key, kinds in everywhere.items() if len(kinds) > 1]
    held_out = set(keys.get("validation", ())) | set(keys.get("test", ()))
    tested = set(keys.get("test", ()))
    return DataReport(
        reports,
        leaks,
        len(conflicts),
        [
            f"{_short(key)} [{', '.join(sorted('+'.join(labels) or 'none' for labels in kinds))}]"
            for key, kinds in conflicts[:EXAMPLES]
        ],
        sequence_length,
        [row for row, key in enumerate(keys["train"]) if key in held_out],
        [row for row, key in enumerate(keys.get("validation", ())) if key in tested],
        label_warnings(splits.train),
    )


def drop_leaked(splits: AnySplits, report: DataReport | None = None) -> AnySplits:
    """Removes leaked rows from the training side.

    Test is never touched. Rows of train whose text is in validation or test go; rows of validation
    whose text is in test go. Validation is compared as it came, before its own rows go.

    Args:
        splits: Splits, as `load` and `load_tagged` give them.
        report: Result of `check` for the same splits, if at hand.

    Raises:
        TransformerError: if fewer than two classes are left to train on, or no validation row is left.

    Example:
        >>> train = Split(["a", "b", "c"], ["1", "0", "1"])
        >>> drop_leaked(Splits(train, None, Split(["A"], ["1"], "test"))).train.texts
        ['b', 'c']
    """
    report = report or check(splits)
    if isinstance(splits, TaggedSplits):
        positions = (
            None if split is None else replace(split.as_texts(), rows=[*range(len(split))]) for split in splits
        )
        kept = drop_leaked(Splits(*positions), report)
        pairs = zip(splits, kept, strict=True)
        return TaggedSplits(*(None if split is None else split.take(left.rows) for split, left in pairs))
    train, validation = splits.train, splits.validation
    if report.leaked_train_indices:
        train = _without(train, report.leaked_train_indices)
        if len(set(train.targets or ())) < 2 <= len(set(splits.train.targets or ())):
            raise TransformerError(
                "drop_leaked leaves fewer than 2 classes to train on: nearly all training texts are in"
                " validation or test too"
            )
        lost = sorted(set(splits.train.labels) - set(train.labels))
        if lost:
            raise TransformerError(
                f"drop_leaked leaves no training row of label {lost[0]!r}: all its texts are in validation or test too"
            )
    if report.leaked_validation_indices:
        validation = _without(validation, report.leaked_validation_indices)
        if not len(validation):
            raise TransformerError("drop_leaked leaves no validation row: all their texts are in test too")
    return splits._replace(train=train, validation=validation)


def _without(split: Split, rows: Sequence[int]) -> Split:
    return split.take(sorted(set(range(len(split))) - set(rows)))


def _labels_by_text(keys: list, split: Split) -> dict:
    """The targets that each folded text carries, each as the labels of a row in order."""
    found: dict = {}
    for row, key in enumerate(keys):
        kinds = found.setdefault(key, set())
        if split.targets is not None:
            kinds.add((str(split.targets[row]),) if split.numeric else tuple(sorted(split.labels_of(row))))
    return found


def _split_report(
    split: Split, keys: list, labels: dict, known: Sequence[str], tokens, sequence_length: int | None
) -> SplitReport:
    counts = Counter(label for row in range(len(split)) for label in split.labels_of(row))
    counts = {label: counts.get(label, 0) for label in known or split.labels}
    both = [(key,) if isinstance(key, str) else key for key in keys]
    words = [sum(len(side.split()) for side in sides) for sides in both]
    smallest = min(counts.values(), default=0)
    tokens = None if tokens is None else np.asarray(tokens)
    truncated = None
    if tokens is not None and sequence_length is not None:
        truncated = float((tokens > sequence_length).mean()) if len(tokens) else 0.0
    return SplitReport(
        rows=len(split),
        source=split.source,
        labels=counts,
        imbalance=max(counts.values()) / smallest if smallest else float("inf") if counts else 1.0,
        words=_percentiles(words),
        tokens=None if tokens is None else _percentiles(tokens),
        truncated=truncated,
        empty=sum(not any(map(_is_seen, sides)) for sides in both),
        one_sided=sum(any(map(_is_seen, sides)) and not all(map(_is_seen, sides)) for sides in both),
        duplicates=len(keys) - len(labels),
        conflicting=sum(len(kinds) > 1 for kinds in labels.values()),
        unlabelled=0 if split.numeric else sum(not target for target in split.targets or ()),
        columns=split.columns,
    )


def _is_seen(text: str) -> bool:
    """Return whether a text has a character other than space, control characters and those without width."""
    return any(character.isprintable() and not character.isspace() for character in text)


def _percentiles(lengths) -> dict[str, int]:
    if not len(lengths):
        return {str(p): 0 for p in PERCENTILES}
    # "higher" gives a length that occurs, not one in between.
    values = np.percentile(np.asarray(lengths), PERCENTILES, method="higher")
    return {str(p): int(v) for p, v in zip(PERCENTILES, values, strict=True)}


def _leak(split: Split, keys: list, labels: dict, other: dict) -> Leak:
    rows = [row for row, key in enumerate(keys) if key in other]
    shared = list(dict.fromkeys(keys[row] for row in rows))
    differing = sum(labels[key] != other[key] for key in shared)
    return Leak(len(rows), len(shared), differing, [_short(key) for key in shared[:EXAMPLES]])


def _short(key, width: int = 70) -> str:
    text = key if isinstance(key, str) else " | ".join(key)
    return repr(text if len(text) <= width else text[: width - 1] + "…")


# What is odd about the labels of a data set, before a class is made of each.

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
    counts = Counter(label for row in range(len(split)) for label in split.labels_of(row))
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
        groups.setdefault(normalize_for_dedup(label), []).append(label)
    return [
        f"{' and '.join(map(repr, group[:_SHOWN]))} differ in case or space alone, and are {len(group)} classes"
        for group in groups.values()
        if len(group) > 1
    ]


def _delimited(labels: Sequence[str]) -> str | None:
    """Labels that are lists of others, if each of their parts is also a label or a part of another list."""
    for delimiter in _DELIMITERS:
        lists = {label: [part.strip() for part in label.split(delimiter)] for label in labels if delimiter in label}
        known = Counter(part for parts in lists.values() for part in set(parts))
        known.update(label for label in labels if label not in lists)
        several = [label for label, parts in lists.items() if all(part and known[part] > 1 for part in parts)]
        if several:
            shown = ", ".join(map(repr, several[:_SHOWN])) + (", …" if len(several) > _SHOWN else "")
            return f"{shown} read{'s' if len(several) == 1 else ''} like several labels; if so, set label_delimiter to {delimiter!r}"
    return None
