"""Whether two classifiers differ by more than the chance of the test texts."""

import numpy as np
from scipy.stats import binomtest


def mcnemar(first: np.ndarray, second: np.ndarray) -> float:
    """How likely so large a difference is by chance between two classifiers that are equally good.

    The exact, two-sided test on the texts that just one of them gets right (McNemar 1947). It knows the chance of the
    test texts, not that of the training: other seeds differ, too.

    Args:
        first, second: (B,) whether each text was classified rightly.

    Example:
        >>> mcnemar(np.ones(6, bool), np.zeros(6, bool))
        0.03125
    """
    only = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
