"""The baselines of predicted numbers: their mean, and ridge regression on TF-IDF of words and word pairs.

Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems", 1970.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import Ridge

from tftransformer.data.numbers import as_numbers
from tftransformer.data.splitting import fold_rows
from tftransformer.errors import TransformerError
from tftransformer.evaluation.baselines import _features, _frequent
from tftransformer.evaluation.regression import regression_metrics

# (texts a word must stand in, penalty) to choose from.
_SMALL = 2000
_FINE = tuple((least, alpha) for least in (1, 2) for alpha in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0))
_COARSE = ((2, 0.1), (2, 1.0), (2, 10.0))


def mean_baseline(
    train_targets: Any,
    test_targets: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    levels: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Predict the mean of the training targets for every test row, and evaluate it.

    Args:
        train_targets, test_targets: (B,) or (B, K) numbers.
        names, seed, levels: As for `regression_metrics`.

    Returns:
        `name` and the keys of `regression_metrics`; its correlations are undefined.

    Raises:
        TransformerError: No training row, or targets that do not fit.

    Example:
        >>> mean_baseline([1.0, 3.0], [2.0, 3.0])["mae"]
        0.5
    """
    train = _columns(train_targets, "train_targets")
    test = _columns(test_targets, "test_targets", train.shape[1])
    figures = regression_metrics(test, np.tile(train.mean(axis=0), (len(test), 1)), names, seed, levels=levels)
    return {"name": "mean of training rows", **figures}


def tfidf_ridge_baseline(
    train_texts: Sequence[str] | Sequence[tuple[str, str]],
    train_targets: Any,
    test_texts: Sequence[str] | Sequence[tuple[str, str]],
    test_targets: Any,
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    levels: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Train and evaluate TF-IDF + ridge regression on one split.

    Features are those of `tfidf_baseline`; a pair of texts has the cosine of its two TF-IDF vectors besides. The
    penalty, and whether words of a single text count, are chosen by cross-validated squared error on the training rows
    alone: 5 folds and 16 settings up to 2,000 rows, above that 3 folds and 3 settings on a seeded 4,000 of them. Then
    all rows train the final regression. Predictions are kept within the range of the training targets.

    Args:
        train_texts: B texts, or pairs of texts.
        train_targets: (B,) or (B, K) numbers.
        test_texts, test_targets: As for the training rows.
        names, levels: As for `regression_metrics`.
        seed: Random seed of the folds, the subset and the bootstrap.

    Returns:
        The keys of `regression_metrics`, and `name`, `alpha`, `minimum_texts`, `features` and `seconds`.

    Raises:
        TransformerError: No training row, or targets that do not fit.

    Example:
        >>> train = ["good film", "bad film", "good plot", "bad plot"]
        >>> b = tfidf_ridge_baseline(train, [5, 1, 5, 1], ["good", "bad"], [5, 1])
        >>> round(b["pearson"], 3)
        1.0
    """
    started = time.perf_counter()
    actual = _columns(train_targets, "train_targets")
    truth = _columns(test_targets, "test_targets", actual.shape[1])
    for what, texts, rows in (("train", train_texts, actual), ("test", test_texts, truth)):
        if len(texts) != len(rows):
            raise TransformerError(f"{what}_targets must have one row for each of {len(texts)} texts; got {len(rows)}")
    train, test = _regression_features(train_texts, test_texts)
    few = len(actual) <= _SMALL
    rows = np.random.default_rng(seed).permutation(len(actual))[: _SMALL if few else 2 * _SMALL]
    least, alpha = _choose(train[rows], actual[rows], _FINE if few else _COARSE, seed)
    kept = _frequent(train, least)
    predictions = _fit_predict(train[:, kept], actual, test[:, kept], alpha, seed)
    return {
        "name": "TF-IDF + ridge regression",
        **regression_metrics(truth, predictions, names, seed, levels=levels),
        "alpha": alpha,
        "minimum_texts": least,
        "features": len(kept),
        "seconds": time.perf_counter() - started,
    }


def _columns(targets: Any, what: str, width: int | None = None) -> np.ndarray:
    """Targets as float64 (B, K)."""
    values = as_numbers(targets, what, dtype="float64")
    columns = values[:, None] if values.ndim == 1 else values
    if not columns.size:
        raise TransformerError(f"{what} must hold at least one number; got shape {values.shape}")
    if width is not None and columns.shape[1] != width:
        raise TransformerError(f"{what} must have {width} numbers in each row; got {columns.shape[1]}")
    return columns


def _regression_features(train, test):
    """Sparse (B, features) of the training and the test texts."""
    parts = _features(train, test)
    if not isinstance(train[0], (tuple, list)):
        return parts
    # The last third is the root of the product of both vectors, whose lengths are 1.
    shared = [part[:, 2 * part.shape[1] // 3 :] for part in parts]
    cosines = [sparse.csr_matrix(part.multiply(part).sum(axis=1)) for part in shared]
    return [sparse.hstack(both, format="csr") for both in zip(parts, cosines, strict=True)]


def _choose(features, actual, grid, seed):
    """The setting of the grid with the least squared error in held-out rows, each number in units of its variance."""
    folds = fold_rows(actual, 5 if len(actual) <= _SMALL else 3, seed)
    if not folds:
        return grid[len(grid) // 2]
    held_out = np.zeros((len(grid), *actual.shape))
    for fit, rest in folds:
        for index, (least, alpha) in enumerate(grid):
            kept = _frequent(features[fit], least)
            held_out[index, rest] = _fit_predict(
                features[fit][:, kept], actual[fit], features[rest][:, kept], alpha, seed
            )
    variances = actual.var(axis=0)
    errors = ((held_out - actual) ** 2).mean(axis=1) / np.where(variances > 0, variances, 1)
    return grid[int(np.argmin(errors.mean(axis=-1)))]


def _fit_predict(train, actual, test, alpha, seed):
    """Predictions (B, K) of the test rows, within the range of the training targets."""
    model = Ridge(alpha=alpha, solver="sparse_cg", tol=1e-4, random_state=seed).fit(train, actual)
    return np.clip(model.predict(test).reshape(-1, actual.shape[1]), actual.min(axis=0), actual.max(axis=0))
