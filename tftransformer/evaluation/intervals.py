"""Confidence intervals of accuracy (Wilson's) and of F1 (percentile bootstrap over rows), and McNemar's test.

Wilson, "Probable inference, the law of succession, and statistical inference", 1927; Efron, "Bootstrap
methods: another look at the jackknife", 1979.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.stats import binomtest

LEVEL = 0.95  # coverage of every interval of a report
# Draws held at once by the bootstrap: about 64 MB of float64.
_CHUNK = 8_000_000


def wilson(successes: float, total: float, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval of a proportion; unlike the plain normal one it stays inside 0 to 1 at the ends.

    Args:
        successes: Number of successes among `total`. Both may be fractional (weighted counts).
        total: Number of trials; at 0 the interval is (0, 1).
        level: Coverage.

    Example:
        >>> wilson(90, 100)
        (0.8256..., 0.9447...)
    """
    if total <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    fraction = successes / total
    centre = fraction + z * z / (2 * total)
    half = z * math.sqrt(max(fraction * (1 - fraction), 0.0) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def f1_scores(
    hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray, multi_label: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Macro and micro F1 from counts per class.

    A class that stands neither in the targets nor in the predictions is left out of the macro mean, or has 0 in it
    where a text may have several labels: in both cases what scikit-learn's `f1_score` does by default.

    Args:
        hits: (..., C) rows of the class that were predicted as it.
        predicted: (..., C) rows predicted as the class.
        actual: (..., C) rows of the class.
        multi_label: Whether a row may have several labels.

    Returns:
        macro (...), micro (...); 0 where no class is present.
    """
    denominator = predicted + actual
    present = denominator > 0
    scores = np.divide(2.0 * hits, denominator, out=np.zeros(denominator.shape), where=present)
    macro = scores.mean(-1) if multi_label else scores.sum(-1) / np.maximum(present.sum(-1), 1)
    total = denominator.sum(-1)
    micro = np.divide(2.0 * hits.sum(-1), total, out=np.zeros(total.shape), where=total > 0)
    return macro, micro


def bootstrap_f1(
    hits: np.ndarray,
    predicted: np.ndarray,
    actual: np.ndarray,
    *,
    counts: np.ndarray | None = None,
    multi_label: bool = False,
    seed: int = 0,
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Percentile bootstrap intervals of macro and micro F1 over rows, with a coverage of `LEVEL`.

    Rows that are alike are drawn together (one multinomial per resample instead of B draws), which is the
    same distribution and keeps thousands of resamples under a second. There are 2,000 of them, and 1,000 above
    5,000 kinds of rows; at 2,000 the ends move by about a twentieth of the interval from seed to seed.

    Args:
        hits, predicted, actual: (G, C) what one row of each of G kinds adds to the counts of `f1_scores`.
        counts: (G,) how many rows there are of each kind; None is one each.
        multi_label: As for `f1_scores`.
        seed: Random seed of the resamples.

    Returns:
        (low, high) of macro F1, (low, high) of micro F1.
    """
    counts = np.ones(len(hits), np.int64) if counts is None else np.asarray(counts)
    total = int(counts.sum())
    if total == 0:
        return (0.0, 1.0), (0.0, 1.0)
    resamples = 2000 if len(hits) <= 5000 else 1000
    generator = np.random.default_rng(seed)
    fractions = counts / total
    macro, micro = [], []
    step = max(1, _CHUNK // len(counts))
    for start in range(0, resamples, step):
        draws = generator.multinomial(total, fractions, size=min(step, resamples - start)).astype(np.float64)
        a, b = f1_scores(draws @ hits, draws @ predicted, draws @ actual, multi_label)
        macro.append(a)
        micro.append(b)
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low_high = [tuple(float(v) for v in np.quantile(np.concatenate(s), ends)) for s in (macro, micro)]
    return low_high[0], low_high[1]


def right_answers(predicted: Sequence[Any], targets: Sequence[Any]) -> np.ndarray:
    """(B,) whether each label, or each collection of labels in whatever order, is the one of the targets.

    Example:
        >>> right_answers(["no", ("a", "b")], ["yes", ("b", "a")])
        array([False,  True])
    """
    pairs = zip(predicted, targets, strict=True)
    return np.array([p == t if isinstance(t, str) else set(p) == set(t) for p, t in pairs], bool)


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """Return the probability of so large a difference by chance between two equally good classifiers.

    The exact, two-sided test on the texts that just one of them gets right (McNemar 1947). It accounts for the random
    choice of the test texts, not for the randomness of training: another seed gives another difference.

    Example:
        >>> mcnemar(np.ones(6, bool), np.zeros(6, bool))
        0.03125
    """
    only = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
