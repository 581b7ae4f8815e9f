"""Splits of tagged sentences: texts as they were written, where their words are, and a tag for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from tftransformer.data.labels import sort_labels
from tftransformer.data.split import Split, Splits, fingerprint
from tftransformer.data.splitting import train_test_split
from tftransformer.errors import TransformerError

# Chinese and Japanese are written without spaces: there every character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+|[^\w\s]")


def split_words(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Return where the words of a text are: runs of letters and digits, and all other signs one by one.

    Args:
        text: A text.
        start, end: Characters to look at; all by default.

    Returns:
        (start, end) of each, in characters.

    Example:
        >>> [text[start:end] for text in ["Off to Rome!"] for start, end in split_words(text)]
        ['Off', 'to', 'Rome', '!']
    """
    return [match.span() for match in _WORD.finditer(text, start, len(text) if end is None else end)]


@dataclass(frozen=True)
class TaggedSplit:
    """Sentences and the tags of their words, in the order of the source.

    Args:
        texts: B sentences.
        spans: For each the words in order, as (start, end) in characters of the text.
        tags: For each a tag a word; None where there are none, as for prediction.
        name: "train", "validation" or "test"; used in messages and reports.
        rows: Line number of each sentence in its source, from 1; None where there is no file.
        source: The file or data set the sentences come from, for messages.

    Raises:
        TransformerError: Lengths that differ, tags in one string, or a span that is empty, out of order or outside its text.

    Example:
        >>> split = TaggedSplit(["Off to Rome!"], [[(0, 3), (4, 6), (7, 11), (11, 12)]], [("O", "O", "B-PLACE", "O")])
        >>> split.words(0), split.labels
        (['Off', 'to', 'Rome', '!'], ('B-PLACE', 'O'))
    """

    texts: list[str]
    spans: list[list[tuple[int, int]]] = field(repr=False)
    tags: list[tuple[str, ...]] | None = field(default=None, repr=False)
    name: str = "train"
    rows: list[int] | None = field(default=None, repr=False)
    source: str = ""

    def __post_init__(self):
        for what in ("spans", "tags", "rows"):
            values = getattr(self, what)
            if values is not None and len(values) != len(self.texts):
                raise TransformerError(f"{what} must be as many as texts, {len(self.texts)}; got {len(values)}")
        object.__setattr__(self, "texts", list(self.texts))
        object.__setattr__(self, "spans", [[(int(start), int(end)) for start, end in row] for row in self.spans])
        if self.tags is not None:
            for row, tags in enumerate(self.tags):
                if isinstance(tags, str):
                    raise TransformerError(
                        f"tags must be lists of tags, one a word; got {tags!r:.40} in row {row} (from 0)"
                    )
            object.__setattr__(self, "tags", [tuple(row) for row in self.tags])
        for row in range(len(self.texts)):
            self._check(row)

    def _check(self, row: int) -> None:
        before, size = 0, len(self.texts[row])
        for start, end in self.spans[row]:
            if not before <= start < end <= size:
                raise TransformerError(
                    f"spans must be in order, not empty and inside the {size} characters of the text; {self.where(row)} has"
                    f" {(start, end)}"
                )
            before = end
        if self.tags is not None and len(self.tags[row]) != len(self.spans[row]):
            raise TransformerError(
                f"tags must be one for each of the {len(self.spans[row])} words of {self.where(row)}; got"
                f" {len(self.tags[row])}"
            )

    @classmethod
    def from_words(
        cls,
        words: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None = None,
        *,
        name: str = "train",
        rows: list[int] | None = None,
        source: str = "",
    ) -> TaggedSplit:
        """The split of sentences given as words; a text is its words with a space between them.

        Args:
            words: Words of B sentences.
            tags: A tag for each word; None where there are none.
            name, rows, source: As for the class.

        Raises:
            TransformerError: A sentence is a string, a word is empty, or as for the class.

        Example:
            >>> split = TaggedSplit.from_words([["Off", "to", "Rome"]], [["O", "O", "B-PLACE"]])
            >>> split.texts, split.spans
            (['Off to Rome'], [[(0, 3), (4, 6), (7, 11)]])
        """
        spans = []
        for i, sentence in enumerate(words):
            if isinstance(sentence, str) or not all(isinstance(word, str) and word for word in sentence):
                raise TransformerError(
                    f"words must be lists of strings that are not empty; row {i} is {sentence!r:.60}"
                )
            ends, end = [], -1
            for word in sentence:
                start = end + 1
                end = start + len(word)
                ends.append((start, end))
            spans.append(ends)
        return cls([" ".join(row) for row in words], spans, None if tags is None else list(tags), name, rows, source)

    @classmethod
    def from_texts(cls, texts: Sequence[str], *, name: str = "test") -> TaggedSplit:
        """The split of texts without tags, whose words are found by `split_words`.

        Example:
            >>> TaggedSplit.from_texts(["Off to Rome!"]).words(0)
            ['Off', 'to', 'Rome', '!']
        """
        return cls(list(texts), [split_words(text) for text in texts], None, name)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        labels = f", {len(self.labels)} tags" if self.tags is not None else ""
        return f"TaggedSplit({self.name!r}, {len(self)} sentences{labels})"

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The distinct tags in order; none where there are no tags."""
        return sort_labels(tag for row in self.tags or () for tag in row)

    def words(self, index: int) -> list[str]:
        """The words of one sentence."""
        return [self.texts[index][start:end] for start, end in self.spans[index]]

    def as_texts(self) -> Split:
        """The split of the sentences as texts, each with the tags that it has, for what looks at texts and labels.

        Example:
            >>> TaggedSplit.from_words([["to", "Rome"]], [["O", "B-PLACE"]]).as_texts().targets
            [('B-PLACE', 'O')]
        """
        tags = self.tags if self.tags is not None else [()] * len(self)
        return Split(
            self.texts, [tuple(sorted(set(row))) for row in tags], self.name, True, self.rows, self.source
        )  # fmt: skip

    @cached_property
    def strata(self) -> list[tuple[str, ...]]:
        """Strata of the sentences, by which parts of a split are made alike: the tags that occur in them."""
        return self.as_texts().strata

    def fingerprint(self) -> str:
        """A hash of the sentences, the places of their words and the tags, in their order."""
        return fingerprint(zip(self.texts, self.spans, self.tags or [None] * len(self), strict=True))

    def take(self, indices: Iterable[int]) -> TaggedSplit:
        """The sentences at these positions, in the order given."""
        indices = [int(i) for i in indices]
        kept = {what: getattr(self, what) for what in ("texts", "spans", "tags", "rows")}
        return replace(
            self, **{k: None if values is None else [values[i] for i in indices] for k, values in kept.items()}
        )

    def where(self, index: int) -> str:
        """The place of sentence `index` in its source, for messages: `eng.train:12`, or `train row 3` (from 0)."""
        if self.rows is None:
            return f"{self.source or self.name} row {index}"
        return f"{self.source}:{self.rows[index]}"


class TaggedSplits(NamedTuple):
    """The three splits; validation or test is None where its fraction was 0 and none was given."""

    train: TaggedSplit
    validation: TaggedSplit | None
    test: TaggedSplit | None

    def present(self) -> dict[str, TaggedSplit]:
        """The splits that exist, by name, in the order train, validation, test."""
        return {name: split for name, split in zip(self._fields, self, strict=True) if split is not None}

    def as_texts(self) -> Splits:
        """The splits of the sentences as texts, each with the tags that it has."""
        return Splits(*(None if split is None else split.as_texts() for split in self))


def cut_tagged(
    split: TaggedSplit, fraction: float, seed: int = 0, name: str = "test"
) -> tuple[TaggedSplit, TaggedSplit]:
    """Cut a fraction of the sentences off, stratified by the rarest tag of each; equal sentences stay on one side.

    Args:
        split: The sentences to divide.
        fraction: Fraction to cut off, above 0 and below 1.
        seed: Random seed: the same one cuts the same sentences.
        name: Name of the part cut off.

    Returns:
        (what remains, what was cut off), each in the order of the source; what remains has every tag.

    Raises:
        TransformerError: As `data.train_test_split`.

    Example:
        >>> split = TaggedSplit.from_words([[word] for word in "abcdefghij"], [["X"], ["Y"]] * 5)
        >>> [len(part) for part in cut_tagged(split, 0.2)]
        [8, 2]
    """
    positions = replace(split.as_texts(), rows=list(range(len(split))))
    rest, part = train_test_split(positions, fraction, seed, name)
    return split.take(rest.rows or []), replace(split.take(part.rows or []), name=name)
