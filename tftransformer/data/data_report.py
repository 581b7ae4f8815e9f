"""Data report: its contents and its text; checks.py makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

LABELS_SHOWN = 12


@dataclass(frozen=True)
class SplitReport:
    """Statistics of one split.

    Args:
        rows: Number of rows.
        source: The file they come from, if any.
        labels: Rows of each label name.
        imbalance: Rows of the commonest label for each row of the rarest; inf if a label is missing.
        words: Length percentiles in words, both sides of pairs together.
        tokens: Length percentiles in tokens, special tokens included; None without token lengths.
        truncated: Fraction of the rows longer than sequence_length; None without token lengths.
        empty: Rows whose text (both sides of a pair) is empty, whitespace or of no width.
        duplicates: Rows whose text is in an earlier row of the split.
        conflicting: Distinct texts that carry different labels within the split.
        unlabelled: Rows without any label (possible in multi-label data).
        one_sided: Pairs of which one text is empty.
        columns: Names of the columns of the source, by their role.
    """

    rows: int
    source: str
    labels: dict[str, int]
    imbalance: float
    words: dict[str, int]
    tokens: dict[str, int] | None
    truncated: float | None
    empty: int
    duplicates: int
    conflicting: int
    unlabelled: int
    one_sided: int = 0
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Leak:
    """Texts that are in two splits.

    Args:
        rows: Rows of the split named first whose text is in the other.
        texts: Distinct texts.
        conflicting: Distinct texts among them whose labels differ between the two splits.
        examples: A few of them, shortened.
    """

    rows: int
    texts: int
    conflicting: int
    examples: list[str]


@dataclass(frozen=True)
class DataReport:
    """The result of `check`.

    Args:
        splits: One report for each split.
        leaks: Leaks by `"train/test"` and so on, only of pairs of splits that share texts.
        conflicting: Distinct texts with different labels anywhere in the data.
        conflict_examples: A few of them, shortened, with their labels.
        sequence_length: Tokens a text is trimmed to, if known.
        leaked_train_indices: Rows of train whose text is in validation or test.
        leaked_validation_indices: Rows of validation whose text is in test.
        label_warnings: Oddities of the labels of train, a line each.
    """

    splits: dict[str, SplitReport]
    leaks: dict[str, Leak]
    conflicting: int
    conflict_examples: list[str]
    sequence_length: int | None = None
    leaked_train_indices: list[int] = field(default_factory=list, repr=False)
    leaked_validation_indices: list[int] = field(default_factory=list, repr=False)
    label_warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """Plain numbers, strings, lists and dicts, for metrics.json; row numbers are left out."""
        values = asdict(self)
        del values["leaked_train_indices"], values["leaked_validation_indices"]
        for split in values["splits"].values():
            split["imbalance"] = None if np.isinf(split["imbalance"]) else split["imbalance"]
        return values

    def __str__(self) -> str:
        lines, shown = ["Data"], None
        for name, split in self.splits.items():
            lines.extend(_split_lines(name, split, self.sequence_length))
            if split.columns and split.columns != shown:
                shown = split.columns
                lines.append(f"    columns  {describe_columns(shown)}")
        lines.extend(f"  LABELS: {warning}" for warning in self.label_warnings)
        for names, leak in self.leaks.items():
            first, second = names.split("/")
            lines.append(
                f"  LEAK: {_count(leak.rows, f'{first} row')} ({_count(leak.texts, 'text')}) also in {second}"
                + (f", {leak.conflicting:,} with other labels there" if leak.conflicting else "")
            )
            lines.extend(f"      {text}" for text in leak.examples)
        if self.conflicting:
            lines.append(f"  {_count(self.conflicting, 'text')} with conflicting labels")
            lines.extend(f"      {text}" for text in self.conflict_examples)
        if not self.leaks and len(self.splits) > 1:
            lines.append("  no text is in two splits")
        return "\n".join(lines)


def describe_columns(columns: Mapping[str, Sequence[str]]) -> str:
    """Describe the columns by their role in one line.

    Example:
        >>> describe_columns({"text": ["body"], "label": ["queue"], "unused": ["subject", "id"]})
        'text: body, label: queue, unused: subject, id'
    """
    joined = {role: (", " if role == "unused" else " and ").join(names) for role, names in columns.items()}
    return ", ".join(f"{role}: {names}" for role, names in joined.items() if names)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _split_lines(name: str, split: SplitReport, sequence_length: int | None) -> list[str]:
    source = f"  ({split.source})" if split.source else ""
    labels = [f"{label} {count:,}" for label, count in list(split.labels.items())[:LABELS_SHOWN]]
    more = len(split.labels) - len(labels)
    lines = [f"  {name:<10} {split.rows:>7,} rows{source}"]
    if labels:
        imbalance = "a label is missing" if np.isinf(split.imbalance) else f"imbalance {split.imbalance:.1f}"
        lines.append(f"    labels   {', '.join(labels)}{f', and {more} more' if more else ''}; {imbalance}")
    for unit, values in (("words", split.words), ("tokens", split.tokens)):
        if values is not None:
            shown = ", ".join(f"{'max' if p == '100' else 'p' + p} {v:,}" for p, v in values.items())
            if unit == "tokens" and split.truncated is not None:
                shown += f"; {split.truncated:.1%} longer than sequence_length {sequence_length}"
            lines.append(f"    {unit:<8} {shown}")
    counts = (
        ("empty", split.empty), ("one-sided", split.one_sided), ("duplicate", split.duplicates),
        ("unlabelled", split.unlabelled),
    )  # fmt: skip
    noted = [_count(count, f"{what} row") for what, count in counts if count]
    if split.conflicting:
        noted.append(f"{_count(split.conflicting, 'text')} with conflicting labels")
    if noted:
        lines.append(f"    note     {', '.join(noted)}")
    return lines
