"""Synonyms in place of, or beside, words (Wei and Zou 2019, arXiv 1901.11196), and where they come from.

From WordNet (Miller 1995), or from the nearest rows of an encoder's token table.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from tftransformer.data.augmentation.operations import Operation, Source, WordOperation
from tftransformer.data.augmentation.words import FUNCTION_WORDS, count_changes, in_case_of
from tftransformer.data.word_starts import STARTS, special_tokens, word_starts
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress
from tftransformer.text.spec import TokenizerSpec

_CHUNK = 256
_INSTALL = (
    "run `pip install nltk` and `python -m nltk.downloader wordnet`, or choose synonyms='embeddings' "
    "(--augmentation_synonyms=embeddings)"
)


class WordNetSynonyms:
    """The other words of a word's meanings in WordNet, the most frequent meaning first.

    It takes the WordNet that nltk finds; nothing is downloaded.

    Args:
        count: Synonyms of a word at most.

    Raises:
        TransformerError: nltk or its WordNet is not installed; the line says how to install it.

    Example:
        >>> WordNetSynonyms()("film")  # doctest: +SKIP
        ['movie', 'picture', 'moving picture', 'moving-picture show', ...]
    """

    def __init__(self, count: int = 8) -> None:
        try:
            from nltk.corpus import wordnet

            # Loaded here: nltk's loading is not safe in the threads in which synonyms are looked up later.
            wordnet.ensure_loaded()
        except ImportError:
            raise TransformerError(f"synonyms need WordNet, and nltk is not installed: {_INSTALL}") from None
        except (LookupError, OSError):
            raise TransformerError(
                f"synonyms need WordNet, and nltk finds none, or not all of it: {_INSTALL}"
            ) from None
        self._wordnet, self._count = wordnet, count
        self._known: dict[str, list[str]] = {}

    def __call__(self, word: str) -> Sequence[str]:
        word = word.lower()
        if word not in self._known:
            meanings = sorted(self._wordnet.synsets(word), key=lambda meaning: _uses(meaning, word), reverse=True)
            names = [name.replace("_", " ") for meaning in meanings for name in meaning.lemma_names()]
            # Longer names (capital of the United Kingdom) are explanations.
            others = dict.fromkeys(n for n in names if n.lower() != word and n.count(" ") < 2)
            self._known[word] = list(others)[: self._count]
        return self._known[word]


def _uses(meaning: Any, word: str) -> int:
    """Return how often the word has this meaning in the texts that WordNet's authors counted."""
    return max((lemma.count() for lemma in meaning.lemmas() if lemma.name().lower() == word), default=0)


class EmbeddingNeighbours:
    """The words whose vectors point the same way: words of the same contexts, opposites among them.

    Because `good` and `bad` are neighbours too, WordNet is the safer choice where the label depends on such words.

    Args:
        words: V words.
        table: (V, D), a vector for each.
        count: Neighbours of a word at most.
        least_similarity: Cosine (of vectors less their mean) below which words are no neighbours.

    Raises:
        TransformerError: There are no words, or not as many rows as words.

    Example:
        >>> table = np.array([[1.0, 0.1], [0.9, 0.1], [-1.0, 0.0], [-1.0, -0.2]])
        >>> EmbeddingNeighbours(["film", "movie", "one", "two"], table, least_similarity=0.5)("Film")
        ['movie']
    """

    def __init__(self, words: Sequence[str], table: np.ndarray, count: int = 8, least_similarity: float = 0.4) -> None:
        table = np.asarray(table, "float32")
        if not len(words):
            raise TransformerError("words must hold a word at least; the vocabulary has no whole words")
        if table.ndim != 2 or len(table) != len(words):
            raise TransformerError(f"table must have a row for each of the {len(words)} words; got shape {table.shape}")
        table = table - table.mean(axis=0)
        self._table = table / np.maximum(np.linalg.norm(table, axis=1, keepdims=True), 1e-9)
        self._words, self._count, self._least = list(words), count, least_similarity
        self._rows = {word: i for i, word in enumerate(words)}
        self._known: dict[int, list[str]] = {}

    def __call__(self, word: str) -> Sequence[str]:
        row = self._row(word)
        if row is None:
            return []
        if row not in self._known:
            self._search([row])
        return self._known[row]

    def prepare(self, words: Iterable[str]) -> None:
        """Find the neighbours of many words at once, which is much faster than one by one."""
        rows = {self._row(word) for word in words} - {None} - set(self._known)
        ordered = sorted(rows)
        with Progress(len(ordered), "nearest words") as bar:
            for start in range(0, len(ordered), _CHUNK):
                chunk = ordered[start : start + _CHUNK]
                self._search(chunk)
                bar.update(len(chunk))

    def _row(self, word: str) -> int | None:
        return self._rows.get(word, self._rows.get(word.lower()))

    def _search(self, rows: Sequence[int]) -> None:
        similar = self._table[rows] @ self._table.T
        similar[np.arange(len(rows)), rows] = -1.0
        count = min(self._count, len(self._words))
        nearest = np.argpartition(-similar, count - 1, axis=1)[:, :count]
        for row, columns, values in zip(rows, nearest, similar, strict=True):
            columns = [i for i in columns[np.argsort(-values[columns])] if values[i] >= self._least]
            self._known[row] = [self._words[i] for i in columns]


def whole_words(spec: TokenizerSpec) -> tuple[np.ndarray, list[str]]:
    """Ids of the tokens that are a word of two letters or more, and these words.

    Raises:
        TransformerError: The kind of tokenizer marks no words.
    """
    special = set(special_tokens(spec))
    mark = STARTS.get(spec.kind, "")
    # Bytes beyond ASCII are written as other letters in a byte-level vocabulary.
    ascii_only = spec.kind == "byte_bpe"
    ids, words = [], []
    for i, (token, starts) in enumerate(zip(spec.vocabulary, word_starts(spec), strict=True)):
        word = token.removeprefix(mark)
        if starts and token not in special and len(word) > 1 and word.isalpha():
            if word.isascii() or not ascii_only:
                ids.append(i)
                words.append(word)
    return np.array(ids, "int64"), words


def encoder_neighbours(spec: TokenizerSpec, table: np.ndarray, **settings: float) -> EmbeddingNeighbours:
    """The nearest words in an encoder's own token table.

    Args:
        spec: The encoder's tokenizer.
        table: (V, D), its token embeddings.
        settings: `count` and `least_similarity` of `EmbeddingNeighbours`.

    Raises:
        TransformerError: The table has not a row for each token.
    """
    table = np.asarray(table)
    if table.ndim != 2 or len(table) < len(spec.vocabulary):
        raise TransformerError(
            f"table must have a row for each of the {len(spec.vocabulary)} tokens; got shape {table.shape}"
        )
    ids, words = whole_words(spec)
    return EmbeddingNeighbours(words, table[ids], **settings)


class SynonymOperation(WordOperation):
    """An operation that asks for synonyms.

    Args:
        fraction: Fraction of the words.
        source: Callable from a word to its synonyms; None takes that of the `Augmentation`.

    Raises:
        TransformerError: The source is no callable.
    """

    def __init__(self, fraction: float = 0.1, source: Source | None = None) -> None:
        super().__init__(fraction)
        if source is not None and not callable(source):
            raise TransformerError(
                f"source must be a callable from a word to its synonyms; got {type(source).__name__}"
            )
        self.source = source

    def bind(self, synonyms: Source) -> Operation:
        return type(self)(self.fraction, synonyms) if self.source is None else self

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
        fraction: Fraction of the words. Where fewer have synonyms, fewer change.
        source: Synonyms, as in `SynonymOperation`.

    Example:
        >>> source = {"film": ["movie"]}.get
        >>> ReplaceSynonyms(0.5, lambda word: source(word, [])).apply(["a film"], [np.random.default_rng(0)])
        ['a movie']
    """

    name = "synonyms"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        wanted = count_changes(len(words), self.fraction, draw)
        # Words are looked up only while some are wanted.
        for _, (i, synonym) in zip(range(wanted), self.synonyms(list(words), draw)):
            words[i] = synonym


class InsertSynonyms(SynonymOperation):
    """Put a synonym of some words anywhere into the text.

    Args:
        fraction: Words that come in for each word that is there, above 0 and at most 1.
        source: Synonyms, as in `SynonymOperation`.

    Example:
        >>> InsertSynonyms(1.0, lambda word: ["movie"]).apply(["film."], [np.random.default_rng(0)])
        ['film movie.']
    """

    name = "insert"

    def change(self, words: list[str], gaps: list[str], draw: np.random.Generator) -> None:
        wanted = count_changes(len(words), self.fraction, draw)
        found = [synonym for _, (_, synonym) in zip(range(wanted), self.synonyms(list(words), draw))]
        for synonym in found:
            i = int(draw.integers(len(words) + 1))
            # At the end it comes before the full stop.
            gaps[i : i + 1] = [" ", gaps[i]] if i == len(words) else [gaps[i], " "]
            words.insert(i, synonym)
