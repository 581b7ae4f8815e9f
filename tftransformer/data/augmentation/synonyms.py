"""Words in place of, or beside, others that mean the same (Wei and Zou 2019, arXiv 1901.11196)."""

from collections.abc import Iterator

import numpy as np

from tftransformer.data.augmentation.operations import Operation, Source, WordOperation
from tftransformer.data.augmentation.words import FUNCTION_WORDS, count_changes, in_case_of
from tftransformer.errors import TransformerError


class SynonymOperation(WordOperation):
    """An operation that asks for synonyms.

    Args:
        rate: Share of the words.
        source: From a word to its synonyms; None takes what the `Augmentation` is told.

    Raises:
        TransformerError: The source is no callable.
    """

    def __init__(self, rate: float = 0.1, source: Source | None = None) -> None:
        super().__init__(rate)
        if source is not None and not callable(source):
            raise TransformerError(
                f"source must be a callable from a word to its synonyms; got {type(source).__name__}"
            )
        self.source = source

    def bind(self, synonyms: Source) -> Operation:
        return type(self)(self.rate, synonyms) if self.source is None else self

    def prepare(self, texts: object) -> None:
        if self.source is None:
            raise TransformerError(f"{self.name} needs a source of synonyms; use it inside an Augmentation")

    def synonyms(self, words: list[str], draw: np.random.Generator) -> Iterator[tuple[int, str]]:
        """(place of a word, a synonym of it), in random order, for those that have one."""
        for i in draw.permutation(len(words)):
            if words[i].lower() in FUNCTION_WORDS or not any(map(str.isalpha, words[i])):
                continue
            found = [word for word in self.source(words[i]) if word.lower() != words[i].lower()]
            if found:
                yield int(i), in_case_of(found[int(draw.integers(len(found)))], words[i])


class ReplaceSynonyms(SynonymOperation):
    """Put a synonym in the place of some words; function words stay.

    Args:
        rate: Share of the words. Where fewer have synonyms, fewer change.
        source: As for `SynonymOperation`.

    Example:
        >>> source = {"film": ["movie"]}.get
        >>> ReplaceSynonyms(0.5, lambda word: source(word, [])).apply(["a film"], [np.random.default_rng(0)])
        ['a movie']
    """

    name = "synonyms"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        wanted = count_changes(len(words), self.rate, draw)
        # Words are looked up only while some are wanted.
        for _, (i, synonym) in zip(range(wanted), self.synonyms(list(words), draw)):
            words[i] = synonym


class InsertSynonyms(SynonymOperation):
    """Put a synonym of some words anywhere into the text.

    Args:
        rate: Words that come in for each word that is there.
        source: As for `SynonymOperation`.

    Example:
        >>> InsertSynonyms(1.0, lambda word: ["movie"]).apply(["film."], [np.random.default_rng(0)])
        ['film movie.']
    """

    name = "insert"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        wanted = count_changes(len(words), self.rate, draw)
        found = [synonym for _, (_, synonym) in zip(range(wanted), self.synonyms(list(words), draw))]
        for synonym in found:
            i = int(draw.integers(len(words) + 1))
            # At the end it comes before the full stop.
            gaps[i : i + 1] = [" ", gaps[i]] if i == len(words) else [gaps[i], " "]
            words.insert(i, synonym)
