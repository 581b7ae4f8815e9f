"""Operations on texts, and those without a source of words: swapping and deleting words, and back-translation.

The first two are as in "EDA: Easy Data Augmentation" (Wei and Zou 2019, arXiv 1901.11196).
"""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np

from tftransformer.data.augmentation.words import count_changes, gap_without, join_words, split_words
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

Source = Callable[[str], Sequence[str]]
Translate = Callable[[list[str]], Sequence[str]]


class Operation(abc.ABC):
    """One way to change texts; write your own by defining `apply`.

    Args:
        fraction: Fraction of the words, or of the texts, that it changes.

    Raises:
        TransformerError: The fraction is not above 0 and at most 1.
    """

    name: ClassVar[str] = "operation"

    def __init__(self, fraction: float = 0.1) -> None:
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float, np.number)) or not 0 < fraction <= 1:
            raise TransformerError(f"the fraction of {self.name} must be above 0 and at most 1; got {fraction!r}")
        self.fraction = float(fraction)

    @abc.abstractmethod
    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        """Change each text with its own source of randomness, and with no other.

        The result for a text must not depend on the texts beside it: then it does not depend on batches either.
        """

    def prepare(self, texts: Sequence[str]) -> None:
        """Called once before training, with every text that may come; for work that takes long."""

    def bind(self, synonyms: Source) -> "Operation":
        """The operation as it is used where words have these synonyms."""
        return self

    def __str__(self) -> str:
        return f"{self.name}:{self.fraction:g}"


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
    """Exchange two words, as often as `fraction` times the number of words.

    Args:
        fraction: Exchanges for each word, above 0 and at most 1.

    Example:
        >>> SwapWords(0.5).apply(["one, two three."], [np.random.default_rng(1)])
        ['three, one two.']
    """

    name = "swap"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        for _ in range(count_changes(len(words), self.fraction, draw)):
            if len(words) < 2:
                return
            one, other = int(draw.integers(len(words))), int(draw.integers(len(words) - 1))
            other += other >= one
            words[one], words[other] = words[other], words[one]


class DeleteWords(WordOperation):
    """Leave words out, each with probability `fraction`; one word always stays.

    Args:
        fraction: Fraction of the words that go.

    Example:
        >>> DeleteWords(0.5).apply(["one, two three."], [np.random.default_rng(1)])
        ['one, two.']
    """

    name = "delete"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        gone = draw.random(len(words)) < self.fraction
        if gone.all():
            gone[draw.integers(len(words))] = False
        for i in np.flatnonzero(gone)[::-1]:
            del words[i]
            gaps[i : i + 2] = [gap_without(gaps[i], gaps[i + 1])]


class BackTranslation(Operation):
    """Put what two translations made of a text in its place (Sennrich et al. 2016, arXiv 1511.06709).

    Translating takes long: every text is translated once, before training, and kept as long as this object. So it
    comes first in an `Augmentation`; what follows changes the translation anew in each epoch.

    Args:
        forward: Callable from texts to as many in the other language.
        backward: The way back.
        fraction: Fraction of the texts that are replaced.
        batch_size: Texts a call.

    Raises:
        TransformerError: Something is no callable, or a number is out of range; later, a translation returned not
            as many texts as it was given.

    Example:
        >>> there = lambda texts: [text.replace("film", "Film") for text in texts]
        >>> back = lambda texts: [text.replace("Film", "movie") for text in texts]
        >>> operation = BackTranslation(there, back, fraction=1.0)
        >>> operation.prepare(["a film"])
        >>> operation.apply(["a film"], [np.random.default_rng(0)])
        ['a movie']
    """

    name = "back_translation"

    def __init__(self, forward: Translate, backward: Translate, fraction: float = 0.5, batch_size: int = 32) -> None:
        super().__init__(fraction)
        for name, translate in (("forward", forward), ("backward", backward)):
            if not callable(translate):
                raise TransformerError(f"{name} must be a callable from texts to texts; got {type(translate).__name__}")
        if batch_size < 1:
            raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
        self.forward, self.backward, self.batch_size = forward, backward, batch_size
        self._known: dict[str, str] = {}

    def prepare(self, texts: Sequence[str]) -> None:
        missing = [text for text in dict.fromkeys(texts) if text.strip() and text not in self._known]
        with Progress(len(missing), "back-translating") as bar:
            for start in range(0, len(missing), self.batch_size):
                part = missing[start : start + self.batch_size]
                there = _translated("forward", self.forward, part)
                back = _translated("backward", self.backward, there)
                self._known.update(zip(part, back, strict=True))
                bar.update(len(part))

    def apply(self, texts: list[str], draws: list[np.random.Generator]) -> list[str]:
        pairs = zip(texts, draws, strict=True)
        return [self._known.get(text, text) if draw.random() < self.fraction else text for text, draw in pairs]


def _translated(name: str, translate: Translate, texts: list[str]) -> list[str]:
    result = translate(texts)
    result = [result] if isinstance(result, str) else list(result)
    if len(result) != len(texts) or not all(isinstance(text, str) for text in result):
        raise TransformerError(
            f"{name} must return a text for each of the {len(texts)} it was given; got {str(result)[:80]!r}"
        )
    return result
