"""The n-gram model that a neural language model has to beat: interpolated, modified Kneser-Ney smoothing.

Chen & Goodman 1998 (TR-10-98, Harvard) have three discounts for each length of n-grams. Where texts begin, n-grams are counted
as Heafield et al. 2013 (ACL, P13-2121) do: behind one start token, and those that begin with it by how often they came.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tftransformer.errors import TransformerError, check_whole

# Discounts of n-grams that came once, twice and more often, where there are too few to learn them from.
_FALLBACK = (0.5, 1.0, 1.5)


class _Ngrams(NamedTuple):
    """All n-grams of one length; an n-gram's number is its place in `keys`.

    Attributes:
        keys: Ascending; the number of the n-gram without its last token, times V + 1, plus that token.
        kept: Part of each count that the discount leaves.
        totals: Sum of the counts behind each n-gram that is one token shorter.
        discounted: Sum of the discounts there, as a fraction of the total.
    """

    keys: np.ndarray
    kept: np.ndarray
    totals: np.ndarray
    discounted: np.ndarray


class KneserNey:
    """Probabilities of tokens behind at most `order - 1` others, learned from texts.

    Args:
        texts: Token ids of each text, its end among them where ends are to be foreseen; a start is put before it.
        vocabulary_size: V: ids are from 0 to V - 1, and all have a probability, those that never came, too.
        order: Tokens of the longest n-grams that are counted.

    Raises:
        TransformerError: No token at all, an id outside the vocabulary, or a number that is not positive.

    Example:
        >>> model = KneserNey([[0, 1, 2], [0, 1, 3]], vocabulary_size=5, order=3)
        >>> int(model.probabilities([0]).argmax()), round(float(model.probabilities([0]).sum()), 6)
        (1, 1.0)
    """

    def __init__(self, texts: Iterable[Sequence[int]], vocabulary_size: int, order: int = 5) -> None:
        check_whole("vocabulary_size", vocabulary_size)
        check_whole("order", order)
        self.vocabulary_size, self.order = vocabulary_size, order
        tokens, places = self._flat(texts)
        if not places.any():
            raise TransformerError("texts must hold at least one token to learn from; got none")
        self._ngrams: list[_Ngrams] = []
        shorter, keys, numbers = 1, np.arange(vocabulary_size + 1), tokens  # a token is its own number
        for length in range(1, order + 1):
            there = numbers >= 0
            came = np.bincount(numbers[there], minlength=len(keys))
            longer = self._keys(numbers, tokens, places, length)
            longer_keys, ends = np.unique(longer[longer >= 0], return_index=True)
            if length < order:
                # Not how often it came, but the number of different tokens that it came behind.
                behind = np.bincount(numbers[np.flatnonzero(longer >= 0)[ends]], minlength=len(keys))
                first = np.bincount(numbers[there & (places == length - 1)], minlength=len(keys)) > 0
                came = np.where(first, came, behind)
            if length == 1:
                came[vocabulary_size] = 0  # no start is foreseen
            self._ngrams.append(_smoothed(keys, came, keys // (vocabulary_size + 1), shorter))
            shorter, keys = len(keys), longer_keys
            if not len(keys):
                break
            numbers = np.where(longer >= 0, np.searchsorted(keys, longer), -1)

    def log_probabilities(self, texts: Iterable[Sequence[int]]) -> np.ndarray:
        """The natural logarithm of the probability of each token behind those before it.

        Args:
            texts: As those that it has learned from.

        Returns:
            (sum of the lengths,) float64, all texts one after another.

        Example:
            >>> KneserNey([[0, 1]], vocabulary_size=2).log_probabilities([[0, 1], [1]]).shape
            (3,)
        """
        tokens, places = self._flat(texts)
        probability = np.full(len(tokens), 1.0 / self.vocabulary_size)
        numbers = tokens
        for length, (keys, kept, totals, discounted) in enumerate(self._ngrams, 1):
            wanted = tokens if length == 1 else self._keys(numbers, tokens, places, length - 1)
            before = np.maximum(wanted, 0) // (self.vocabulary_size + 1)
            place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
            found = keys[place] == wanted
            longer = (
                np.where(found, kept[place], 0.0) / np.maximum(totals[before], 1) + discounted[before] * probability
            )
            # Behind what nothing came, or what is no n-gram, the shorter ones decide.
            probability = np.where((wanted >= 0) & (totals[before] > 0), longer, probability)
            numbers = np.where(found, place, -1)
        return np.log(probability[places > 0])

    def probabilities(self, history: Sequence[int]) -> np.ndarray:
        """The probabilities (V,) of the tokens behind the beginning of a text.

        Example:
            >>> KneserNey([[0, 1, 0, 1]], vocabulary_size=3).probabilities([0, 1]).shape
            (3,)
        """
        texts = ([*history, token] for token in range(self.vocabulary_size))
        return np.exp(self.log_probabilities(texts).reshape(self.vocabulary_size, -1)[:, -1])

    def _flat(self, texts: Iterable[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """All tokens, a start before each text, and their places in it, of which the start's is 0."""
        rows = [np.asarray(text, "int64").reshape(-1) for text in texts]
        start = np.array([self.vocabulary_size])
        tokens = np.concatenate([np.zeros(0, "int64"), *(part for row in rows for part in (start, row))])
        places = np.concatenate([np.zeros(0, "int64"), *(np.arange(len(row) + 1) for row in rows)])
        outside = tokens[(places > 0) & ((tokens < 0) | (tokens >= self.vocabulary_size))]
        if len(outside):
            raise TransformerError(
                f"token ids must be at least 0 and below vocabulary_size, {self.vocabulary_size}; got {outside[0]}"
            )
        return tokens, places

    def _keys(self, numbers: Any, tokens: np.ndarray, places: np.ndarray, length: int) -> np.ndarray:
        """The keys of the n-grams of `length` + 1 tokens that end at each place; -1 where there is none.

        `numbers` are those of the n-grams of `length` tokens, -1 where there is none.
        """
        before = np.concatenate([[-1], numbers[:-1]])
        return np.where((places >= length) & (before >= 0), before * (self.vocabulary_size + 1) + tokens, -1)


def _smoothed(keys: np.ndarray, counts: np.ndarray, before: np.ndarray, shorter: int) -> _Ngrams:
    """N-grams of one length with discounts, from their counts and what stands before their last tokens: one of `shorter` n-grams."""
    discounts = np.array([0.0, *_discounts(counts)])[np.minimum(counts, 3)]
    totals = np.bincount(before, counts, minlength=shorter)
    discounted = np.bincount(before, discounts, minlength=shorter) / np.maximum(totals, 1)
    return _Ngrams(keys, counts - discounts, totals, discounted)


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """Chen & Goodman's estimates for counts of 1, 2 and more."""
    once, twice, thrice, four = (int((counts == count).sum()) for count in (1, 2, 3, 4))
    if not (once and twice and thrice):
        return _FALLBACK
    share = once / (once + 2 * twice)
    found = 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice
    # A discount that is none would leave nothing to what never came.
    return found if min(found) > 0 else _FALLBACK
