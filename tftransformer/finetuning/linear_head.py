"""A linear head by logistic regression: the best one on vectors that stay as they are, its strength chosen on held-out rows."""

from typing import NamedTuple

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tftransformer.data.splitting import fold_rows

# Inverse strengths of the penalty on weights for vectors of length 1, which makes them mean the same for every encoder.
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
# Where no row can be held out.
_USUAL = 10.0
# Rows that are enough to choose among them.
_CHOSEN_ON = 2000
# The least probability that a held-out row's label counts with, also where a fold has no row of it.
_LEAST = 1e-3
# How flat the likelihood is where the solver stops: by its usual 1e-4 weights differ by a hundredth with the last digit of the
# vectors.
_EXACT = 1e-8
# Odds of a label without a row against one with a single row.
_UNSEEN = 0.1


class LinearHead(NamedTuple):
    """Weights of a linear head, and how they were found.

    Attributes:
        kernel: (D, C) float32.
        bias: (C,) float32.
        strength: Inverse strength of the penalty, of `STRENGTHS`.
        accuracy: Fraction of held-out rows that were labelled rightly at it; None where none could be held out.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float | None


# On one thread: the products are small, and threads that wait for one another take up to ninety times as long where the machine
# has other work, too (1,000 vectors of 384 numbers: 1.5 s for 137).
@threadpool_limits.wrap(limits=1, user_api="blas")
def fit_linear_head(
    vectors: np.ndarray,
    targets: np.ndarray,
    num_classes: int,
    *,
    weights: np.ndarray | None = None,
    names: np.ndarray | None = None,
    strength: float | None = None,
    seed: int = 0,
) -> LinearHead:
    """The head whose logits make the targets likeliest, less a penalty on its weights.

    The penalty is chosen among eight by cross-validated likelihood: 5 folds, or 3 above 20 classes, on 2,000 rows at
    most. Then all rows fit the head. Several labels a text are a regression each.

    Args:
        vectors: (B, D), such as `TextClassifier.encode` gives.
        targets: (B,) ids, or (B, C) zeros and ones. Labels without rows get a low probability everywhere.
        num_classes: C.
        weights: (B,) factors on the rows' losses; None for 1.
        names: (C, D) vectors of the labels' names, each of which counts as one more row of its label.
        strength: Inverse strength of the penalty; None: chosen, on the rows alone.
        seed: Random seed of the folds.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> head = fit_linear_head(vectors, np.array([0, 0, 1, 1]), 2)
        >>> (vectors @ head.kernel + head.bias).argmax(-1).tolist()
        [0, 0, 1, 1]
    """
    targets = np.asarray(targets)
    weights = np.ones(len(targets)) if weights is None else np.asarray(weights, "float64")
    # A row of weight 0 is a row that is not there.
    counted = weights > 0
    vectors, targets, weights = np.asarray(vectors)[counted], targets[counted], weights[counted]
    scale = max(float(np.linalg.norm(vectors, axis=-1).mean()), 1e-12)
    scaled = np.asarray(vectors, "float64") / scale
    accuracy = None
    if strength is None:
        strength, accuracy = _choose(scaled, targets, weights, num_classes, seed)
    if names is not None:
        scaled = np.concatenate([scaled, np.asarray(names, "float64") / scale])
        labels = np.arange(num_classes) if targets.ndim == 1 else np.eye(num_classes, dtype=targets.dtype)
        targets, weights = np.concatenate([targets, labels]), np.concatenate([weights, np.ones(num_classes)])
    kernel, bias = _solve(scaled, targets, weights, num_classes, strength, _EXACT)
    return LinearHead((kernel / scale).astype("float32"), bias.astype("float32"), strength, accuracy)


def _choose(
    vectors: np.ndarray, targets: np.ndarray, weights: np.ndarray, num_classes: int, seed: int
) -> tuple[float, float | None]:
    rows = np.random.default_rng(seed).permutation(len(targets))[:_CHOSEN_ON]
    vectors, targets, weights = vectors[rows], targets[rows], weights[rows]
    single = targets.ndim == 1
    folds = fold_rows(targets, 5 if num_classes <= 20 else 3, seed)
    if not folds:
        return _USUAL, None
    likelihoods, right = np.zeros(len(STRENGTHS)), np.zeros(len(STRENGTHS))
    for fit, rest in folds:
        for i, strength in enumerate(STRENGTHS):
            kernel, bias = _solve(vectors[fit], targets[fit], weights[fit], num_classes, strength)
            logits = vectors[rest] @ kernel + bias
            likely = _likelihoods(logits, targets[rest])
            likelihoods[i] += weights[rest] @ likely
            right[i] += (
                (logits.argmax(-1) == targets[rest]) if single else ((logits > 0) == targets[rest]).mean(-1)
            ).sum()
    best = int(likelihoods.argmax())
    return STRENGTHS[best], float(right[best] / len(targets))


def _likelihoods(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """(B,) log probabilities of the targets, none below a least one."""
    if targets.ndim == 1:
        logs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        found = logs[np.arange(len(targets)), targets]
        return np.maximum(found, np.log(_LEAST))
    found = -np.logaddexp(0, np.where(targets > 0, -logits, logits))
    return np.maximum(found, np.log(_LEAST)).mean(-1)


def _solve(
    vectors: np.ndarray, targets: np.ndarray, weights: np.ndarray, num_classes: int, strength: float, tol: float = 1e-4
) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (D, C) and bias (C,)."""
    if targets.ndim == 2:
        columns = [_binary(vectors, column, weights, strength, tol) for column in targets.T]
        return np.stack([kernel for kernel, _ in columns], axis=1), np.array([bias for _, bias in columns])
    kernel, bias = np.zeros((vectors.shape[1], num_classes)), np.zeros(num_classes)
    present = np.unique(targets)
    if len(present) == 2:
        column, intercept = _binary(vectors, targets == present[1], weights, strength, tol)
        kernel[:, present] = np.stack([-column / 2, column / 2], axis=1)
        bias[present] = -intercept / 2, intercept / 2
    elif len(present) > 2:
        model = LogisticRegression(C=strength, max_iter=5000, tol=tol).fit(vectors, targets, sample_weight=weights)
        kernel[:, present], bias[present] = model.coef_.T, model.intercept_
    missing = np.setdiff1d(np.arange(num_classes), present)
    if len(missing):
        # As likely, on an average text, as a label with a fraction of a row.
        usual = np.logaddexp.reduce(vectors.mean(0) @ kernel[:, present] + bias[present])
        bias[missing] = usual + np.log(_UNSEEN / len(targets))
    return kernel, bias


def _binary(
    vectors: np.ndarray, yes: np.ndarray, weights: np.ndarray, strength: float, tol: float
) -> tuple[np.ndarray, float]:
    yes = np.asarray(yes).astype(bool)
    if yes.all() or not yes.any():
        odds = (yes.sum() + _UNSEEN) / (len(yes) - yes.sum() + _UNSEEN)
        return np.zeros(vectors.shape[1]), float(np.log(odds))
    model = LogisticRegression(C=strength, max_iter=5000, tol=tol).fit(vectors, yes, sample_weight=weights)
    return model.coef_[0], float(model.intercept_[0])
