"""Tests whether two samples come from one source: distances between them, and how large these are by chance alone.

The largest gap between two distributions (Kolmogorov and Smirnov), the divergence of Jensen and Shannon of two frequencies
(Lin 1991), the maximum mean discrepancy of vectors; chance by permutation (Gretton et al. 2012, "A kernel two-sample test",
JMLR 13). Rabanser et al. 2019 ("Failing loudly", arXiv 1810.11953) compare such tests on shifted data: what a classifier
predicts, number by number, and the discrepancy of its vectors find most.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from tftransformer.errors import TransformerError
from tftransformer.evaluation.baselines import TOKEN

Distance = Callable[[np.ndarray, np.ndarray], float]

# Sums in another order differ by rounding; equal distances must count as equal.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Comparison:
    """Distance between two samples, compared with random divisions of all their rows.

    Attributes:
        distance: Distance of the one from the other.
        noise: The largest distance that still passes for chance.
        p_value: Fraction of the divisions, the given one included, that are as far apart as the given one.
    """

    distance: float
    noise: float
    p_value: float


def compare(
    distance: Distance, old: int, new: int, *, splits: int = 200, level: float = 0.05, seed: int = 0
) -> Comparison:
    """Compare two samples, and random divisions of their rows into two of the same sizes.

    Where both come from one source the given division is like the random ones: whatever the distance and the sizes are,
    p-values of at most `level` are as rare as `level` says.

    Args:
        distance: Function from two arrays of row numbers to a number. Old rows are 0 to `old` - 1, new ones follow.
        old, new: How many rows, 2 at least.
        splits: Random divisions; the smallest p-value is 1 / (splits + 1).
        level: The p-value up to which a distance is beyond noise.
        seed: Random seed of the divisions.

    Example:
        >>> values = np.r_[np.arange(100) % 10, np.full(30, 9)]
        >>> compare(lambda a, b: kolmogorov_smirnov(values[a], values[b]), 100, 30).p_value < 0.01
        True
    """
    for name, count in (("old", old), ("new", new)):
        if count < 2:
            raise TransformerError(f"{name} must be at least 2; got {count}")
    # Of all divisions, the given one included, so many may be as far apart and it is beyond noise.
    rank = int(level * (splits + 1) + _ROUNDING)
    if rank < 1:
        raise TransformerError(f"splits must be at least {round(1 / level) - 1} at level {level:.4g}; got {splits}")
    rows = np.arange(old + new)
    draw = np.random.default_rng(seed)
    value = float(distance(rows[:old], rows[old:]))
    orders = (draw.permutation(rows) for _ in range(splits))
    random = np.array([distance(order[:old], order[old:]) for order in orders])
    tolerance = _ROUNDING * max(abs(value), float(np.abs(random).max()))
    return Comparison(
        distance=value,
        noise=float(np.sort(random)[-rank]),
        p_value=float((1 + (random >= value - tolerance).sum()) / (1 + splits)),
    )


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference of the fractions of two samples (n,) and (m,) that are at most some value, 0 to 1.

    Example:
        >>> kolmogorov_smirnov(np.array([1, 2]), np.array([2, 3]))
        0.5
    """
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    below = [np.searchsorted(part, both, side="right") / len(part) for part in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """The divergence of two frequencies (V,) in bits: 0 for equal frequencies, 1 where nothing is in common.

    Example:
        >>> jensen_shannon(np.array([2, 2, 0]), np.array([0, 0, 5]))
        1.0
    """
    frequencies = [np.asarray(counts, "float64") / max(counts.sum(), 1e-300) for counts in (first, second)]
    middle = (frequencies[0] + frequencies[1]) / 2

    def entropy(values: np.ndarray) -> float:
        positive = values[values > 0]
        return float(-(positive * np.log2(positive)).sum())

    return max(entropy(middle) - (entropy(frequencies[0]) + entropy(frequencies[1])) / 2, 0.0)


def count_matrix(flat: np.ndarray, row_splits: np.ndarray, ignored: tuple[int, ...] = ()) -> sparse.csr_matrix:
    """(B, V) counts of ids, V being the ids that occur, from ids one row after another."""
    rows = np.repeat(np.arange(len(row_splits) - 1), np.diff(row_splits))
    kept = ~np.isin(flat, ignored)
    ids, columns = np.unique(flat[kept], return_inverse=True)
    shape = (len(row_splits) - 1, max(len(ids), 1))
    return sparse.csr_matrix((np.ones(kept.sum()), (rows[kept], columns)), shape=shape)


def frequency_distance(counts: sparse.csr_matrix) -> Distance:
    """Jensen and Shannon's divergence of what rows of counts (B, V) add up to."""
    return lambda first, second: jensen_shannon(
        *(np.asarray(counts[rows].sum(axis=0)).reshape(-1) for rows in (first, second))
    )


def discrepancy(vectors: np.ndarray) -> Distance:
    """The squared maximum mean discrepancy of vectors (B, D), without bias: about 0 for samples of one source.

    The kernel is exp(-|x - y|² / 2s²), where s² is the median of the squared distances.
    """
    exact = np.asarray(vectors, "float64")
    norms = np.square(exact).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * exact @ exact.T, 0.0)
    apart = squares[np.triu_indices(len(squares), 1)]
    width = max(float(np.median(apart)), 1e-12) if len(apart) else 1.0
    kernel = np.exp(-squares / (2 * width))

    def distance(first: np.ndarray, second: np.ndarray) -> float:
        n, m = len(first), len(second)
        # Sums over rows of the kernel, without copying parts of it.
        sums = [kernel @ np.bincount(rows, minlength=len(kernel)) for rows in (first, second)]
        # A row's likeness to itself is 1 and says nothing.
        own = (sums[0][first].sum() - n) / max(n * (n - 1), 1)
        other = (sums[1][second].sum() - m) / max(m * (m - 1), 1)
        return float(own + other - 2 * sums[0][second].sum() / (n * m))

    return distance


# Probability that any word is called clear though nothing has changed.
_LEVEL = 0.05


@dataclass(frozen=True)
class Term:
    """A word and in how many texts it stands.

    Attributes:
        term: Lower-cased.
        new, old: Texts with it.
        score: Standard deviations by which its log-odds are above those in the old texts.
    """

    term: str
    new: int
    old: int
    score: float


def new_terms(old: Sequence[str | tuple[str, str]], new: Sequence[str | tuple[str, str]], most: int = 10) -> list[Term]:
    """The words that stand in clearly more of the new texts, the clearest first.

    Texts are counted, not occurrences, so that no single text decides. A prior of one text for each word, shared by
    frequency, keeps rare words from looking like news; "clearly" takes account of how many words are looked at.

    Example:
        >>> old, new = ["the film was fine"] * 50, ["the phone was fine"] * 20
        >>> [term.term for term in new_terms(old, new)]
        ['phone']
    """
    counts = [_texts_with(texts) for texts in (old, new)]
    both = counts[0] + counts[1]
    totals = [sum(count.values()) for count in counts]
    scale = len(both) / max(sum(both.values()), 1)
    clear = NormalDist().inv_cdf(1 - _LEVEL / max(len(both), 1))
    found = []
    for term, everywhere in both.items():
        prior = everywhere * scale
        odds, variance = 0.0, 0.0
        for sign, count, total in ((-1, counts[0], totals[0]), (1, counts[1], totals[1])):
            there = count[term] + prior
            rest = total + len(both) - there
            odds += sign * math.log(there / max(rest, prior))
            variance += 1 / there
        score = odds / math.sqrt(variance)
        if score >= clear:
            found.append(Term(term, counts[1][term], counts[0][term], score))
    return sorted(found, key=lambda term: (-term.score, term.term))[:most]


def _texts_with(texts: Iterable[str | tuple[str, str]]) -> Counter:
    words = CountVectorizer(token_pattern=TOKEN).build_analyzer()
    joined = (text if isinstance(text, str) else " ".join(text) for text in texts)
    return Counter(word for text in joined for word in set(words(text)))
