"""Metrics of a classifier's probabilities, as metrics.json has them, with one label per text or many; the threshold."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from tftransformer.errors import TransformerError
from tftransformer.evaluation import intervals

# Keras's own epsilon: a probability of exactly 0 costs 16.1, not infinity.
_EPSILON = 1e-7


def classification_metrics(
    targets: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    *,
    sample_weight: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of a single-label classifier on one set of texts.

    Macro figures are means over the classes that stand in the targets or in the predictions (scikit-learn's
    default); a class that nobody has and nobody predicts does not pull them down.

    Args:
        targets: (B,) integers from 0 to C-1.
        probabilities: (B, C), rows summing to 1. The prediction is the largest, the first of equals.
        labels: C names.
        sample_weight: (B,) weights of the rows, not negative; None counts every row once.
        seed: Random seed of the bootstrap behind the interval of macro F1.

    Returns:
        `accuracy`, `macro_f1`, `weighted_f1`, `micro`/`macro`/`weighted` (each precision, recall, f1), `auc`
        (macro one-vs-rest; with two classes that of class 1; None, with the reason in `auc_note`, where a
        class is absent), `loss` (mean cross-entropy in nats), `per_class` {label: precision, recall, f1,
        support}, `confusion_matrix` (C rows of targets by C predictions), `confidence_interval`
        {level, accuracy, macro_f1} and `examples` (B). Everything is plain Python, ready for JSON.

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> m = classification_metrics([0, 1, 1], [[.9, .1], [.2, .8], [.6, .4]], ["no", "yes"])
        >>> round(m["accuracy"], 3), m["confusion_matrix"]
        (0.667, [[1, 0], [1, 1]])
    """
    targets, probabilities, weight = checked(targets, probabilities, labels, sample_weight)
    num_classes = len(labels)
    if targets.ndim != 1 or not np.issubdtype(targets.dtype, np.integer):
        raise TransformerError(f"targets must be (B,) integers; got {targets.dtype} of shape {targets.shape}")
    if targets.min() < 0 or targets.max() >= num_classes:
        wrong = targets[(targets < 0) | (targets >= num_classes)][0]
        raise TransformerError(f"targets must be between 0 and {num_classes - 1}, the last label; got {wrong}")
    sums = probabilities.sum(-1)
    if np.abs(sums - 1).max() > 0.02:
        raise TransformerError(
            f"probabilities must sum to 1 in each row; got {sums[np.abs(sums - 1).argmax()]:.4g} (logits?)"
        )
    predictions = probabilities.argmax(-1)
    confusion = sk.confusion_matrix(targets, predictions, labels=np.arange(num_classes), sample_weight=weight)
    result = _figures(targets, predictions, labels, weight, np.union1d(targets, predictions))
    accuracy = float(sk.accuracy_score(targets, predictions, sample_weight=weight))
    result.update(
        accuracy=accuracy,
        micro={"precision": accuracy, "recall": accuracy, "f1": accuracy},
        loss=float(np.average(row_losses(targets, probabilities), weights=weight)),
        confusion_matrix=confusion.tolist(),
        confidence_interval={
            "level": intervals.LEVEL,
            "accuracy": _accuracy_interval(accuracy, len(targets), weight),
            "macro_f1": _single_label_interval(targets, predictions, weight, num_classes, seed),
        },
        **_auc(np.eye(num_classes, dtype=bool)[targets], probabilities, labels, weight, single=True),
    )
    return _ordered(result, len(targets))


def multilabel_metrics(
    targets: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    thresholds: float | Sequence[float] = 0.5,
    *,
    sample_weight: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """The figures of a classifier that may give a text any number of labels, none included.

    Args:
        targets: (B, C) of 0 and 1.
        probabilities: (B, C), each of its own sigmoid.
        thresholds: A label is predicted where its probability is at least this; one number, or C.
        labels, sample_weight, seed: As for `classification_metrics`.

    Returns:
        The keys of `classification_metrics`, and: `accuracy` is the fraction of texts whose whole set of labels
        is right (`subset_accuracy` is the same number), `hamming_loss` the fraction of single decisions that
        are wrong, `micro_f1` stands beside `macro_f1`, `loss` is the mean binary cross-entropy, `auc` the
        macro mean over labels, `thresholds` the C thresholds, `confusion_matrix` C times [[true negatives,
        false positives], [false negatives, true positives]]; `confidence_interval` has micro_f1 too.

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> m = multilabel_metrics([[1, 0], [1, 1]], [[.9, .2], [.8, .4]], ["a", "b"], 0.5)
        >>> m["subset_accuracy"], m["hamming_loss"]
        (0.5, 0.25)
    """
    targets, probabilities, weight = checked(targets, probabilities, labels, sample_weight)
    actual = indicator(targets, probabilities)
    if probabilities.max() > 1 + 1e-3:
        raise TransformerError(f"probabilities must be between 0 and 1; got {probabilities.max():.4g} (logits?)")
    cut = np.asarray(thresholds, np.float64)
    # NaN is not in between either.
    if cut.shape not in ((), (len(labels),)) or not ((cut >= 0) & (cut <= 1)).all():
        raise TransformerError(f"thresholds must be one number or {len(labels)} between 0 and 1; got {thresholds}")
    cut = np.broadcast_to(cut, (len(labels),))
    predicted = probabilities >= cut
    # The macro mean is over all labels, also those that do not occur, as scikit-learn's for indicators is.
    result = _figures(actual.astype(int), predicted.astype(int), labels, weight, np.arange(len(labels)))
    subset = float(sk.accuracy_score(actual, predicted, sample_weight=weight))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        actual, predicted, average="micro", sample_weight=weight, zero_division=0
    )
    scale = np.ones((len(actual), 1)) if weight is None else weight[:, None]
    counts = [scale * part for part in (actual & predicted, predicted, actual)]
    macro_interval, micro_interval = intervals.bootstrap_f1(*counts, multi_label=True, seed=seed)
    result.update(
        accuracy=subset,
        subset_accuracy=subset,
        micro_f1=float(f1),
        hamming_loss=float(sk.hamming_loss(actual, predicted, sample_weight=weight)),
        micro={"precision": float(precision), "recall": float(recall), "f1": float(f1)},
        loss=float(np.average(row_losses(actual, probabilities), weights=weight)),
        thresholds=cut.tolist(),
        confusion_matrix=sk.multilabel_confusion_matrix(actual, predicted, sample_weight=weight).tolist(),
        confidence_interval={
            "level": intervals.LEVEL,
            "accuracy": _accuracy_interval(subset, len(actual), weight),
            "macro_f1": list(macro_interval),
            "micro_f1": list(micro_interval),
        },
        **_auc(actual, probabilities, labels, weight, single=False),
    )
    return _ordered(result, len(actual))


def _figures(actual, predicted, labels, weight, present):
    precision, recall, f1, support = sk.precision_recall_fscore_support(
        actual, predicted, labels=np.arange(len(labels)), sample_weight=weight, zero_division=0
    )
    counts = [float(s) if weight is not None else int(s) for s in support]
    columns = {"precision": precision, "recall": recall, "f1": f1}
    mass = support / support.sum() if support.sum() > 0 else np.zeros(len(labels))
    result = {
        "macro": {k: float(v[present].mean()) if len(present) else 0.0 for k, v in columns.items()},
        "weighted": {k: float(v @ mass) for k, v in columns.items()},
    }
    result["macro_f1"], result["weighted_f1"] = result["macro"]["f1"], result["weighted"]["f1"]
    result["per_class"] = {
        str(label): {**{k: float(v[i]) for k, v in columns.items()}, "support": counts[i]}
        for i, label in enumerate(labels)
    }
    return result


def _auc(actual, probabilities, labels, weight, single):
    seen = actual if weight is None else actual[weight > 0]
    for label, column in zip(labels, seen.T, strict=True):
        if column.all() or not column.any():
            missing = "every text has" if column.all() else "no text has"
            return {"auc": None, "auc_note": f"undefined: {missing} the label {str(label)!r}"}
    columns = [1] if single and len(labels) == 2 else range(len(labels))
    areas = [sk.roc_auc_score(actual[:, c], probabilities[:, c], sample_weight=weight) for c in columns]
    return {"auc": float(np.mean(areas))}


def _accuracy_interval(accuracy, rows, weight):
    # Kish's effective sample size: unequal weights carry less information than their number says.
    effective = rows if weight is None else weight.sum() ** 2 / (weight**2).sum()
    return list(intervals.wilson(accuracy * effective, effective))


def _single_label_interval(targets, predictions, weight, num_classes, seed):
    rows = np.stack([targets, predictions, np.ones(len(targets)) if weight is None else weight], -1)
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    one_hot = np.eye(num_classes)
    actual = one_hot[kinds[:, 0].astype(int)] * kinds[:, 2:]
    predicted = one_hot[kinds[:, 1].astype(int)] * kinds[:, 2:]
    hits = actual * (kinds[:, :1] == kinds[:, 1:2])
    macro, _ = intervals.bootstrap_f1(hits, predicted, actual, counts=counts, seed=seed)
    return list(macro)


_ORDER = (
    "examples", "accuracy", "subset_accuracy", "hamming_loss", "macro_f1", "micro_f1", "weighted_f1", "auc",
    "auc_note", "loss", "thresholds", "confidence_interval", "micro", "macro", "weighted", "per_class",
    "confusion_matrix",
)  # fmt: skip


def _ordered(result: dict[str, Any], examples: int) -> dict[str, Any]:
    result["examples"] = examples
    for key, value in result.items():
        if isinstance(value, float) and not math.isfinite(value):
            result[key] = None
    return {key: result[key] for key in _ORDER if key in result}


def tune_threshold(targets: np.ndarray, probabilities: np.ndarray, average: str = "micro") -> float:
    """The one threshold for all labels that maximises F1 on these (validation) texts.

    One global threshold, because a threshold per label overfits the few validation texts of a rare one.
    Candidates lie half-way between neighbouring probabilities, and at most 1,000 quantiles of them are tried;
    of equals the one nearest 0.5 wins.

    Args:
        targets: (B, C) of 0 and 1.
        probabilities: (B, C).
        average: "micro" (default: every decision counts alike) or "macro" (every label counts alike).

    Returns:
        A number between 0 and 1; 0.5 where no target is positive.

    Raises:
        TransformerError: Shapes or values that do not fit, or another average.

    Example:
        >>> tune_threshold([[1, 0], [0, 1]], [[.4, .1], [.2, .3]])
        0.25
    """
    if average not in ("micro", "macro"):
        raise TransformerError(f"average must be 'micro' or 'macro'; got {average!r}")
    probabilities = np.asarray(probabilities, np.float64)
    names = [""] * (probabilities.shape[1] if probabilities.ndim == 2 else 1)
    targets, probabilities, _ = checked(targets, probabilities, names, None)
    actual = indicator(targets, probabilities)
    if not actual.any():
        return 0.5
    values = np.unique(probabilities)
    if len(values) > 1001:
        values = np.unique(np.quantile(values, np.linspace(0, 1, 1001)))
    cuts = np.unique(np.concatenate([(values[1:] + values[:-1]) / 2, [0.5]]))
    counts = []
    for column in range(actual.shape[1]):
        everyone = np.sort(probabilities[:, column])
        positive = np.sort(probabilities[actual[:, column], column])
        hits, chosen = (len(values) - np.searchsorted(values, cuts) for values in (positive, everyone))
        counts.append((hits, chosen, np.full(len(cuts), len(positive))))
    hits, predicted, truly = (np.stack(part, -1).astype(np.float64) for part in zip(*counts, strict=True))
    scores = intervals.f1_scores(hits, predicted, truly, multi_label=True)[0 if average == "macro" else 1]
    best = cuts[scores >= scores.max() - 1e-12]
    return float(best[np.abs(best - 0.5).argmin()])


def checked(
    targets: Any, probabilities: Any, labels: Sequence[str], sample_weight: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Targets (B, ...), probabilities (B, C) in float64 and weights (B,) or None, or a one-line error."""
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels):
        raise TransformerError(
            f"probabilities must be (B, {len(labels)}), one column a label; got shape {probabilities.shape}"
        )
    if len(targets.shape) == 0 or len(targets) != len(probabilities):
        raise TransformerError(
            f"targets must have one row for each of the {len(probabilities)} rows of "
            f"probabilities; got shape {targets.shape}"
        )
    if len(targets) == 0:
        raise TransformerError("targets must hold at least one row; got none")
    if not np.isfinite(probabilities).all():
        raise TransformerError(
            f"probabilities must be finite; row {np.argwhere(~np.isfinite(probabilities))[0][0]} holds NaN or infinity"
        )
    if probabilities.min() < -1e-3:
        raise TransformerError(f"probabilities must not be negative; got {probabilities.min():.4g} (logits?)")
    if sample_weight is None:
        return targets, probabilities, None
    weight = np.asarray(sample_weight, np.float64)
    if weight.shape != (len(targets),) or not np.isfinite(weight).all() or weight.min() < 0 or weight.sum() == 0:
        raise TransformerError(
            f"sample_weight must be ({len(targets)},), finite, not negative and not all zero; got shape {weight.shape}"
        )
    return targets, probabilities, weight


def row_losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Compute the cross-entropy (B,) of each row in nats; of several labels a row, the mean over them.

    Args:
        targets: Ids (B,), or zeros and ones (B, C).
        probabilities: (B, C).

    Example:
        >>> row_losses(np.array([0, 1]), np.array([[0.5, 0.5], [0.0, 1.0]])).round(3).tolist()
        [0.693, -0.0]
    """
    if targets.ndim == 1:
        return -np.log(np.clip(probabilities[np.arange(len(targets)), targets], _EPSILON, 1.0))
    clipped = np.clip(probabilities, _EPSILON, 1 - _EPSILON)
    return -np.where(targets > 0, np.log(clipped), np.log1p(-clipped)).mean(-1)


def indicator(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Targets (B, C) of 0 and 1 as booleans, or a one-line error."""
    if targets.shape != probabilities.shape or not np.isin(targets, (0, 1)).all():
        raise TransformerError(
            f"targets must be {probabilities.shape} of 0 and 1; got {targets.dtype} of shape {targets.shape}"
        )
    return targets.astype(bool)
