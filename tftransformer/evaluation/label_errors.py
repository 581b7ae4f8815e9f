"""Rows whose labels are probably wrong: confident learning (Northcutt, Jiang and Chuang 2021, arXiv:1911.00068)."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tftransformer.errors import TransformerError
from tftransformer.evaluation.metrics import checked


def find_label_errors(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """The rows whose label is probably another one, the clearest first.

    A class is as sure of its rows as it is on average. A row is suspect where another class is at least that sure of
    it, and surer than its own: the off-diagonal of the paper's confident joint. Few classes being sure of everything,
    or of nothing, do not matter then.

    Args:
        targets: (B,) ids as they were given.
        probabilities: (B, C) by models that were not trained on the row itself, as folds give them.

    Returns:
        (R,) int64 rows, by falling distance between the likeliest label's probability and that of the given one.

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> said = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
        >>> find_label_errors(np.array([0, 0, 1, 1, 0]), said).tolist()
        [4]
    """
    targets, probabilities, _ = checked(targets, probabilities, range(np.shape(probabilities)[-1]), None)
    if targets.ndim != 1:
        raise TransformerError(f"targets must be (B,), one label a text; got shape {targets.shape}")
    rows, classes = np.arange(len(targets)), probabilities.shape[-1]
    # A class without rows is sure of none.
    usual = np.array(
        [probabilities[targets == c, c].mean() if (targets == c).any() else np.inf for c in range(classes)]
    )
    sure = np.where(probabilities >= usual, probabilities, -1)
    other = sure.argmax(-1)
    given = probabilities[rows, targets]
    suspect = (sure.max(-1) >= 0) & (other != targets) & (probabilities[rows, other] > given)
    found = np.flatnonzero(suspect)
    margin = given[found] - probabilities[found].max(-1)
    return found[np.argsort(margin, kind="stable")]


# On one thread, as in `finetuning.linear_head`.
@threadpool_limits.wrap(limits=1, user_api="blas")
def held_out_probabilities(vectors: np.ndarray, targets: np.ndarray, folds: int = 5, seed: int = 0) -> np.ndarray:
    """Probabilities of each row by a logistic regression on the other folds' vectors.

    Args:
        vectors: (B, D) such as `TextClassifier.encode` gives.
        targets: (B,) ids; each class has at least two rows.
        folds: How many; fewer where a class has fewer rows.
        seed: Random seed of the folds.

    Returns:
        (B, C).

    Raises:
        TransformerError: A class has fewer than two rows.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> targets = np.arange(40) % 2
        >>> held_out_probabilities(draw.normal(targets[:, None], 0.1, (40, 3)), targets).argmax(-1).tolist() == list(targets)
        True
    """
    targets = np.asarray(targets)
    counts = np.bincount(targets)
    if counts.min() < 2:
        raise TransformerError(
            f"targets must have at least two rows of each class; class {counts.argmin()} has {counts.min()}"
        )
    scaled = StandardScaler().fit_transform(vectors)
    # Scaled vectors of some hundred numbers separate few rows whatever they are labelled: hence the strong prior.
    model = LogisticRegression(C=0.01, max_iter=1000)
    cut = StratifiedKFold(min(folds, int(counts.min())), shuffle=True, random_state=seed)
    return cross_val_predict(model, scaled, targets, cv=cut, method="predict_proba")
