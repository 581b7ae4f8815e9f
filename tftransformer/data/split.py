"""Splits: labelled texts as plain Python lists, before any tokenizer has seen them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tftransformer.data.dedup import Text
from tftransformer.data.labels import label_values, named_targets, sort_labels
from tftransformer.data.numbers import as_numbers
from tftransformer.data.tables import as_column
from tftransformer.errors import TransformerError

Target = str | tuple[str, ...] | float | tuple[float, ...]


@dataclass(frozen=True)
class Split:
    """Texts and their targets, in the order of the source.

    Args:
        texts: B texts, or B pairs of texts.
        targets: B labels, kept by their names (`data.labels`); for multi-label data B tuples of them, which may be
            empty; None where there are no labels, as for prediction.
        name: "train", "validation" or "test"; used in messages and reports.
        multi_label: Whether `targets` are tuples.
        rows: Line number of each row in its source, from 1; None where there is no file.
        source: The file or data set the rows come from, for messages.
        columns: The names of its columns that are the `text` and the `label`, and of those that are `unused`.
        references: For pairs whose second text is to be written, all texts of people for each, the second one first; None
            where each has that one alone.
        numeric: Whether `targets` are numbers, or tuples of as many in each row, and no labels.

    Raises:
        TransformerError: if the lengths differ, or a target is no label.

    Example:
        >>> split = Split(["good", "bad", "fine"], ["1", "0", "1"])
        >>> split.labels, len(split.take([0, 2]))
        (('0', '1'), 2)
    """

    texts: list[Text]
    targets: list[Target] | None = None
    name: str = "train"
    multi_label: bool = False
    rows: list[int] | None = field(default=None, repr=False)
    source: str = ""
    columns: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    references: list[tuple[str, ...]] | None = field(default=None, repr=False)
    numeric: bool = False

    def __post_init__(self):
        if self.targets is not None:
            read = _numbers if self.numeric else label_values
            object.__setattr__(self, "targets", read(self.targets, "targets"))
        for what in ("targets", "rows", "references"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.texts):
                raise TransformerError(f"{what} must be as many as texts, {len(self.texts)}; got {len(values)}")
        if not isinstance(self.texts, list):
            object.__setattr__(self, "texts", list(as_column(self.texts)))
        if self.targets is not None and not self.numeric:
            counted = " (from 0)" if self.rows is None else ""
            names = named_targets(self.targets, self.multi_label, lambda row: self.where(row) + counted)
            object.__setattr__(self, "targets", names)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        kind = "pairs" if self.is_pair else "texts"
        labels = "" if self.targets is None else ", numbers" if self.numeric else f", {len(self.labels)} labels"
        return f"Split({self.name!r}, {len(self)} {kind}{labels})"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct label names in order; the position of a name is its id. None where targets are numbers."""
        return sort_labels(label for row in range(len(self)) for label in self.labels_of(row))

    @property
    def is_pair(self) -> bool:
        """True if each text is a pair."""
        return bool(self.texts) and not isinstance(self.texts[0], str)

    def labels_of(self, index: int) -> tuple[str, ...]:
        """The labels of one row: one, or for multi-label data any number of them; none without targets."""
        if self.targets is None or self.numeric:
            return ()
        return self.targets[index] if self.multi_label else (self.targets[index],)

    @cached_property
    def strata(self) -> list[tuple[str, ...]]:
        """Strata of the rows, by which parts of a split are made alike: labels, or the decile of the first number."""
        if not self.numeric or self.targets is None:
            return [self.labels_of(row) for row in range(len(self))]
        first = np.array([target[0] if isinstance(target, tuple) else target for target in self.targets])
        ranks = np.argsort(np.argsort(first, kind="stable"), kind="stable")
        return [(f"{10 * rank // max(len(ranks), 1)}",) for rank in ranks.tolist()]

    def take(self, indices: Iterable[int]) -> Split:
        """The rows at these positions, in the order given."""
        indices = [int(i) for i in indices]

        def pick(values: Sequence | None):
            return None if values is None else [values[i] for i in indices]

        kept = {name: pick(getattr(self, name)) for name in ("texts", "targets", "rows", "references")}
        return replace(self, **kept)

    def fingerprint(self) -> str:
        """A hash of the texts and targets, in their order.

        Example:
            >>> Split(["a"], ["x"]).fingerprint() == Split(["a"], ["y"]).fingerprint()
            False
        """
        return fingerprint(zip(self.texts, self.targets or [None] * len(self), strict=True))

    def all_references(self) -> list[tuple[str, ...]]:
        """For each pair the texts of people to compare with what is written for its first text.

        Example:
            >>> Split([("a long text", "a text")]).all_references()
            [('a text',)]
        """
        return [(second,) for _, second in self.texts] if self.references is None else self.references

    def where(self, index: int) -> str:
        """The place of row `index` in its source, for messages: `file.csv:12`, or `train row 3` (from 0)."""
        if self.rows is None:
            return f"{self.source or self.name} row {index}"
        return f"{self.source}:{self.rows[index]}"


def fingerprint(rows: Iterable[Sequence[Any]]) -> str:
    """A hash of rows of JSON values, in their order."""
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(json.dumps(row).encode("ascii"))
    return digest.hexdigest()


class Splits(NamedTuple):
    """The three splits; validation or test is None where its fraction was 0 and none was given."""

    train: Split
    validation: Split | None
    test: Split | None

    def present(self) -> dict[str, Split]:
        """The splits that exist, by name, in the order train, validation, test."""
        return {name: split for name, split in zip(self._fields, self, strict=True) if split is not None}


def require_labelled(data: object) -> Split:
    """The split itself, if it is one with targets.

    Raises:
        TransformerError: It is something else, or without them.
    """
    if not isinstance(data, Split) or data.targets is None:
        got = "one without targets" if isinstance(data, Split) else type(data).__name__
        raise TransformerError(f"data must be a Split with targets, as `data.load` makes them; got {got}")
    return data


def _numbers(targets: Any, what: str) -> list:
    """Numbers as floats, or rows of several as tuples."""
    rows = as_numbers(targets, what, dtype="float64").tolist()
    return [tuple(row) if isinstance(row, list) else row for row in rows]
