"""Operations on texts, and the two that need nothing but the text: swapping and deleting words.

As in "EDA: Easy Data Augmentation" (Wei and Zou 2019, arXiv 1901.11196).
"""

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from tftransformer.data.augmentation.words import count_changes, gap_without, join_words, split_words
from tftransformer.errors import TransformerError

Source = Callable[[str], Sequence[str]]


def check_rate(rate: Any, name: str) -> float:
    """The rate, if it is one.

    Raises:
        TransformerError: It is not above 0 and at most 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, (int, float, np.number)) or not 0 < rate <= 1:
        raise TransformerError(f"the rate of {name} must be above 0 and at most 1; got {rate!r}")
    return float(rate)


class Operation(abc.ABC):
    """One way to change texts; write your own by defining `apply`.

    Args:
        rate: Share of the words, or of the texts, that it changes.

    Raises:
        TransformerError: The rate is not above 0 and at most 1.
    """

    name: ClassVar[str] = "operation"

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = check_rate(rate, self.name)

    @abc.abstractmethod
    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        """Change each text with its own source of randomness, and with no other.

        What becomes of a text may not depend on the texts beside it: then it does not depend on batches either.
        """

    def prepare(self, texts: Sequence[str]) -> None:
        """Called once before training, with every text that may come; for work that takes long."""

    def bind(self, synonyms: Source) -> "Operation":
        """The operation as it is used where words have these synonyms."""
        return self

    def __str__(self) -> str:
        return f"{self.name}:{self.rate:g}"


class WordOperation(Operation):
    """An operation on the words of one text."""

    @abc.abstractmethod
    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        """Change the n words and the n + 1 gaps around them in place; n is at least 1."""

    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        changed = []
        for text, draw in zip(texts, draws, strict=True):
            words, gaps = split_words(text)
            if words:
                self.change(words, gaps, draw)
            changed.append(join_words(words, gaps))
        return changed


class SwapWords(WordOperation):
    """Exchange two words, as often as `rate` times the number of words.

    Args:
        rate: Exchanges a word.

    Example:
        >>> SwapWords(0.5).apply(["one, two three."], [np.random.default_rng(1)])
        ['three, one two.']
    """

    name = "swap"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        for _ in range(count_changes(len(words), self.rate, draw)):
            if len(words) < 2:
                return
            one, other = int(draw.integers(len(words))), int(draw.integers(len(words) - 1))
            other += other >= one
            words[one], words[other] = words[other], words[one]


class DeleteWords(WordOperation):
    """Leave words out, each with probability `rate`; one word always stays.

    Args:
        rate: Share of the words that go.

    Example:
        >>> DeleteWords(0.5).apply(["one, two three."], [np.random.default_rng(1)])
        ['one, two.']
    """

    name = "delete"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        gone = draw.random(len(words)) < self.rate
        if gone.all():
            gone[draw.integers(len(words))] = False
        for i in np.flatnonzero(gone)[::-1]:
            del words[i]
            gaps[i : i + 2] = [gap_without(gaps[i], gaps[i + 1])]
