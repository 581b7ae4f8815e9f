"""The baseline every report shows: TF-IDF of words and word pairs, and logistic regression.

A Transformer should do better than word counts on the same split; Wang and Manning, "Baselines and bigrams", 2012,
show how often it does not.
"""

import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from tftransformer.data.splitting import fold_rows
from tftransformer.errors import TransformerError
from tftransformer.evaluation import intervals
from tftransformer.evaluation.metrics import classification_metrics, multilabel_metrics, tune_threshold

# Chinese and Japanese are written without spaces: there every character is a word, and the word pairs are
# character pairs. Hangul is not in the range, because Korean has spaces.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
TOKEN = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"
_MAX_FEATURES = 200_000
# (texts a word must stand in, C) to choose from: finely where a fit takes hundredths of a second.
_SMALL = 2000
_FINE = tuple((least, c) for least in (1, 2) for c in (0.3, 1.0, 3.0, 10.0, 30.0, 100.0))
_COARSE = ((2, 1.0), (2, 10.0), (2, 100.0))


def tfidf_baseline(
    train_texts: Sequence[str] | Sequence[tuple[str, str]],
    train_targets: np.ndarray,
    test_texts: Sequence[str] | Sequence[tuple[str, str]],
    test_targets: np.ndarray,
    labels: Sequence[str],
    seed: int = 0,
) -> dict[str, Any]:
    """Train and evaluate TF-IDF + logistic regression on one split.

    Features are the lower-cased words and pairs of neighbouring words, 1 + log(count) times inverse document
    frequency, the 200,000 most frequent at most. A pair of texts gives the features of each side and of the
    words both share. There is one binary regression per class (liblinear's dual solver: ten times faster
    than a multinomial one on so many features, and no worse). Its C, and whether words of a single text
    count, are chosen by cross-validated macro F1 on the training rows alone: 5 folds and 12 settings up to
    2,000 rows, above that 3 folds and 3 settings on a seeded 4,000 of them (2,000 above 20 classes). Then all
    rows train the final regressions. Test rows are seen once.

    Args:
        train_texts: B texts, or pairs of texts.
        train_targets: (B,) integers, or (B, C) of 0 and 1 (several labels per text: one threshold for all is
            tuned on the cross-validated probabilities).
        test_texts, test_targets: As for the training rows.
        labels: C names.
        seed: Random seed of the folds and the subset.

    Returns:
        The keys of `classification_metrics` or `multilabel_metrics`, and `name`, `regularisation_c`,
        `minimum_texts`, `features` and `seconds`.

    Raises:
        TransformerError: No training row, or targets that do not fit.

    Example:
        >>> train = ["good film", "bad film", "good plot", "bad plot"]
        >>> tfidf_baseline(train, [1, 0, 1, 0], ["good"], [1], ["neg", "pos"])["accuracy"]
        1.0
    """
    started = time.perf_counter()
    targets = np.asarray(train_targets)
    if len(train_texts) == 0 or len(targets) != len(train_texts):
        raise TransformerError(
            "train_targets must have one row for each text, and at least one; got "
            f"{len(targets)} for {len(train_texts)} texts"
        )
    single = targets.ndim == 1
    actual = np.eye(len(labels), dtype=bool)[targets] if single else targets.astype(bool)
    train, test = _features(train_texts, test_texts)
    limit = _SMALL if len(targets) <= _SMALL or len(labels) > 20 else 2 * _SMALL
    rows = np.random.default_rng(seed).permutation(len(targets))[:limit]
    grid = _FINE if len(targets) <= _SMALL and len(labels) <= 20 else _COARSE
    (least, strength), held_out = _choose(train[rows], actual[rows], grid, single, seed)
    kept = _frequent(train, least)
    probabilities = _fit_predict(train[:, kept], actual, test[:, kept], strength, single, seed)
    if single:
        figures = classification_metrics(test_targets, probabilities, labels, seed=seed)
    else:
        threshold = 0.5 if held_out is None else tune_threshold(actual[rows], held_out)
        figures = multilabel_metrics(test_targets, probabilities, labels, threshold, seed=seed)
    return {
        "name": "TF-IDF + logistic regression",
        **figures,
        "regularisation_c": strength,
        "minimum_texts": least,
        "features": len(kept),
        "seconds": time.perf_counter() - started,
    }


def _features(train, test):
    """Sparse (B, features) of the training and the test texts, fitted on the training texts."""
    pairs = isinstance(train[0], (tuple, list))
    vectorizer = TfidfVectorizer(token_pattern=TOKEN, ngram_range=(1, 2), sublinear_tf=True, max_features=_MAX_FEATURES)
    try:
        vectorizer.fit([text for row in train for text in row] if pairs else list(train))
    except ValueError:
        # Not a single word in the training texts: an empty feature leaves the class frequencies to the intercept.
        return sparse.csr_matrix((len(train), 1)), sparse.csr_matrix((len(test), 1))

    def matrix(texts):
        if not pairs:
            return vectorizer.transform(texts).tocsr()
        first, second = (vectorizer.transform([row[side] for row in texts]) for side in (0, 1))
        return sparse.hstack([first, second, first.multiply(second).sqrt()], format="csr")

    return matrix(train), matrix(test)


def _frequent(features, least):
    """The columns that stand in at least `least` texts; all of them where none does."""
    kept = np.flatnonzero(features.getnnz(axis=0) >= least)
    return kept if len(kept) else np.arange(features.shape[1])


def _choose(features, actual, grid, single, seed):
    """The best setting of the grid and the held-out probabilities (B, C) at it, None without folds."""
    folds = fold_rows(actual.argmax(-1) if single else actual, 5 if len(actual) <= _SMALL else 3, seed)
    if not folds:
        return grid[len(grid) // 2], None
    held_out = np.zeros((len(grid), *actual.shape))
    for fit, rest in folds:
        for index, (least, strength) in enumerate(grid):
            kept = _frequent(features[fit], least)
            held_out[index, rest] = _fit_predict(
                features[fit][:, kept], actual[fit], features[rest][:, kept], strength, single, seed
            )
    scores = []
    for probabilities in held_out:
        if single:
            predicted = np.eye(actual.shape[1])[probabilities.argmax(-1)]
        else:
            predicted = probabilities >= tune_threshold(actual, probabilities)
        hits = (actual * predicted).sum(0)
        scores.append(intervals.f1_scores(hits, predicted.sum(0), actual.sum(0), not single)[0])
    best = int(np.argmax(scores))
    return grid[best], held_out[best]


def _fit_predict(train, actual, test, strength, single, seed):
    """Probabilities (B, C) of the test rows, from one binary regression per class."""
    result = np.zeros((test.shape[0], actual.shape[1]))
    binary = single and actual.shape[1] == 2
    for column in [1] if binary else range(actual.shape[1]):
        truth = actual[:, column]
        if truth.all() or not truth.any():
            result[:, column] = float(truth[0])
            continue
        model = LogisticRegression(solver="liblinear", dual=True, C=strength, tol=0.1, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            result[:, column] = model.fit(train, truth).predict_proba(test)[:, 1]
    if binary:
        result[:, 0] = 1 - result[:, 1]
    elif single:
        result /= result.sum(-1, keepdims=True)
    return result
