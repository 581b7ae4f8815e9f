"""Do two samples come from one source? Distances between them, and how large these are by chance alone.

The largest gap between two distributions (Kolmogorov and Smirnov), the divergence of Jensen and Shannon of two frequencies
(Lin 1991), the maximum mean discrepancy of vectors (Gretton et al. 2012, "A kernel two-sample test", JMLR 13).
Rabanser et al. 2019 ("Failing loudly", arXiv 1810.11953) compare such tests on shifted data: what a classifier predicts,
number by number, and the discrepancy of its vectors find most.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tftransformer.errors import TransformerError

Distance = Callable[[np.ndarray, np.ndarray], float]

# Draws over which the distance itself is averaged.
_DRAWS = 20


@dataclass(frozen=True)
class Comparison:
    """How far new rows are from a base, beside how far parts of the base are from each other.

    Attributes:
        distance: Of new rows from the base, the mean over draws.
        noise: What distances within the base stay below, up to the share of `level`.
        p_value: The share of distances within the base that are as large as `distance`, counting that one too.
        rows: How many rows are compared with the rest of the base.
    """

    distance: float
    noise: float
    p_value: float
    rows: int


def compare(
    distance: Distance, base: int, new: int, *, splits: int = 200, level: float = 0.05, seed: int = 0
) -> Comparison:
    """Compare new rows with a base, and random parts of the base with its rest: equally many rows in both cases.

    Where new rows come from the base's source, the p-value is about uniform; the mean over draws makes it
    rather too large than too small.

    Args:
        distance: From two arrays of row numbers to a number. Rows of the base are 0 to `base` - 1, new ones follow.
        base: Rows of the base, 4 at least.
        new: New rows, 2 at least.
        splits: Random parts of the base; the smallest p-value is 1 / (splits + 1).
        level: The share of them that may be farther than `noise`.
        seed: The same seed gives the same result.

    Raises:
        TransformerError: There are too few rows or splits.

    Example:
        >>> values = np.r_[np.arange(100) % 10, np.full(30, 9)]
        >>> compare(lambda a, b: kolmogorov_smirnov(values[a], values[b]), 100, 30).p_value < 0.01
        True
    """
    for name, count, least in (("base", base, 4), ("new", new, 2), ("splits", splits, 1)):
        if count < least:
            raise TransformerError(f"{name} must be at least {least}; got {count}")
    draw = np.random.default_rng(seed)
    size = min(new, base // 2)

    def parts() -> tuple[np.ndarray, np.ndarray]:
        order = draw.permutation(base)
        return order[:size], order[size:]

    within = np.array([distance(*parts()) for _ in range(splits)])
    across = [distance(base + draw.permutation(new)[:size], parts()[1]) for _ in range(_DRAWS)]
    value = float(np.mean(across))
    return Comparison(
        distance=value,
        noise=float(np.quantile(within, 1 - level, method="higher")),
        p_value=float((1 + (within >= value).sum()) / (1 + splits)),
        rows=size,
    )


def kolmogorov_smirnov(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference of the shares of two samples (n,) and (m,) that are at most some value, 0 to 1.

    Example:
        >>> kolmogorov_smirnov(np.array([1, 2]), np.array([2, 3]))
        0.5
    """
    first, second = np.sort(first), np.sort(second)
    both = np.concatenate([first, second])
    below = [np.searchsorted(part, both, side="right") / len(part) for part in (first, second)]
    return float(np.abs(below[0] - below[1]).max())


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> float:
    """The divergence of two frequencies (V,) in bits: 0 for equal shares, 1 where nothing is in common.

    Example:
        >>> jensen_shannon(np.array([2, 2, 0]), np.array([0, 0, 5]))
        1.0
    """
    shares = [np.asarray(counts, "float64") / max(counts.sum(), 1e-300) for counts in (first, second)]
    middle = (shares[0] + shares[1]) / 2

    def entropy(values: np.ndarray) -> float:
        positive = values[values > 0]
        return float(-(positive * np.log2(positive)).sum())

    return max(entropy(middle) - (entropy(shares[0]) + entropy(shares[1])) / 2, 0.0)


def count_matrix(
    flat: np.ndarray, row_splits: np.ndarray, ignored: tuple[int, ...] = ()
) -> sparse.csr_matrix:
    """(B, V) counts of ids, V being the ids that occur, from ids one row after another.

    Args:
        flat: Ids of all rows.
        row_splits: (B + 1,): row i is `flat[row_splits[i]:row_splits[i + 1]]`.
        ignored: Ids that do not count.
    """
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
        # A row's likeness to itself is 1 and says nothing.
        own = (kernel[np.ix_(first, first)].sum() - n) / max(n * (n - 1), 1)
        other = (kernel[np.ix_(second, second)].sum() - m) / max(m * (m - 1), 1)
        return float(own + other - 2 * kernel[np.ix_(first, second)].mean())

    return distance
