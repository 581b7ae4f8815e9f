"""Probabilities that mean what they say: temperature, reliability, what to leave unanswered, and sets of labels.

Temperature scaling and the expected calibration error: Guo et al. 2017, "On Calibration of Modern Neural Networks"
(arXiv:1706.04599). Sets of labels: split conformal prediction (Vovk et al. 2005) with the scores of Sadinle, Lei and
Wasserman 2019, "Least Ambiguous Set-Valued Classifiers" (arXiv:1609.00451).
"""

import math
from typing import NamedTuple

import numpy as np
from scipy import optimize, special, stats

from tftransformer.errors import TransformerError
from tftransformer.evaluation.metrics import checked, indicator
from tftransformer.evaluation.reports import text_table

# Guo et al. look for the calibration error in so many bins of equal width.
BINS = 15
# Temperatures beyond are for models that know nothing of the held-out rows, or everything.
TEMPERATURES = (0.05, 20.0)
# A probability of exactly 0 or 1 has no logit.
_TINY, _NEARLY_NONE = 1e-12, 1e-38


class Reliability(NamedTuple):
    """Accuracy of decisions by their confidence, in bins.

    Attributes:
        confidence: (K,) mean probability of the decisions in each bin that holds some.
        accuracy: (K,) fraction of them that is right.
        count: (K,) number of them.
        error: Expected calibration error: mean distance of confidence and accuracy over all decisions (0 to 1).
    """

    confidence: np.ndarray
    accuracy: np.ndarray
    count: np.ndarray
    error: float


def reliability(targets: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> Reliability:
    """Confidence against accuracy.

    A decision is the likeliest label of a text; with several labels a text, each label's yes or no.

    Args:
        targets: (B,) ids, or (B, C) of 0 and 1 for several labels a text.
        probabilities: (B, C) as `predict` returns them.
        bins: Bins of equal width between 0 and 1.

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> found = reliability(np.array([0, 1, 1, 0]), np.array([[.9, .1], [.1, .9], [.9, .1], [.9, .1]]))
        >>> found.confidence.tolist(), found.accuracy.tolist(), round(found.error, 3)
        ([0.9], [0.75], 0.15)
    """
    confidence, right = decisions(targets, probabilities)
    # The last bin holds a probability of exactly 1.
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    count = np.bincount(places, minlength=bins)
    some = count > 0
    means = [np.bincount(places, values, bins)[some] / count[some] for values in (confidence, right)]
    error = float(np.sum(count[some] * np.abs(means[0] - means[1])) / len(confidence))
    return Reliability(*means, count[some], error)


def decisions(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each decision, and whether it is right: (B,), or (B * C,) with several labels a text."""
    targets, probabilities, _ = checked(targets, probabilities, range(np.shape(probabilities)[-1]), None)
    if targets.ndim == 2:
        yes = probabilities >= 0.5
        right = yes == indicator(targets, probabilities)
        return np.where(yes, probabilities, 1 - probabilities).ravel(), right.ravel()
    return probabilities.max(-1), probabilities.argmax(-1) == targets


def with_temperature(probabilities: np.ndarray, temperature: float, multi_label: bool = False) -> np.ndarray:
    """The probabilities (B, C) of the same logits, divided by the temperature.

    Example:
        >>> with_temperature(np.array([[0.9, 0.1]]), 2.0).round(3).tolist()
        [[0.75, 0.25]]
    """
    if multi_label:
        clipped = np.clip(np.asarray(probabilities, np.float64), _TINY, 1 - _TINY)
        return special.expit(special.logit(clipped) / temperature)
    return special.softmax(np.log(np.maximum(probabilities, _NEARLY_NONE)) / temperature, axis=-1)


def fit_temperature(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature with which held-out targets are likeliest.

    Dividing the logits by it changes no label's rank, so that a classifier's decisions stay. Above 1 it takes back
    confidence that training put in. Targets are smoothed by one part in the number of rows and two, as Platt 1999 has
    it: few rows that are all right do not make a model infinitely sure.

    Args:
        targets: (B,) ids, or (B, C) of 0 and 1, of rows that the model was not trained on.
        probabilities: (B, C) of the model at temperature 1.

    Returns:
        A number between 0.05 and 20.

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> sure = np.array([[0.99, 0.01]] * 4)
        >>> round(fit_temperature(np.array([0, 0, 0, 1]), sure), 2)
        6.63
    """
    targets, probabilities, _ = checked(targets, probabilities, range(np.shape(probabilities)[-1]), None)
    several, classes = targets.ndim == 2, probabilities.shape[-1]
    actual = (indicator(targets, probabilities) if several else np.eye(classes)[targets]).astype("float64")
    # What is left for each of the other classes, or for the other of yes and no.
    rest = 1 / ((len(targets) + 2) * (1 if several else max(classes - 1, 1)))
    wanted = np.where(actual == 1, 1 - 1 / (len(targets) + 2), rest)

    def loss(log_temperature: float) -> float:
        scaled = with_temperature(probabilities, math.exp(log_temperature), several)
        terms = special.xlogy(wanted, np.maximum(scaled, _NEARLY_NONE))
        if several:
            terms += special.xlogy(1 - wanted, np.maximum(1 - scaled, _NEARLY_NONE))
        return -float(terms.sum() / len(targets))

    found = optimize.minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4})
    return float(math.exp(found.x))


class Coverage(NamedTuple):
    """Numbers of answers and of right ones, where the least confident answers are left out.

    Attributes:
        threshold: (K,) lowest confidence of an answer that is given, from the highest to the lowest.
        answered: (K,) number of texts that get an answer.
        right: (K,) number of those answers that are right.
        texts: Number of texts.
    """

    threshold: np.ndarray
    answered: np.ndarray
    right: np.ndarray
    texts: int


def coverage_curve(targets: np.ndarray, probabilities: np.ndarray) -> Coverage:
    """Right answers against answers, for every threshold that makes a difference; for one label a text.

    Args:
        targets: (B,) ids.
        probabilities: (B, C).

    Example:
        >>> curve = coverage_curve(np.array([0, 1, 1]), np.array([[.9, .1], [.3, .7], [.6, .4]]))
        >>> curve.threshold.tolist(), curve.answered.tolist(), curve.right.tolist()
        ([0.9, 0.7, 0.6], [1, 2, 3], [1, 2, 2])
    """
    confidence, right = decisions(_ids(targets), probabilities)
    order = np.argsort(-confidence, kind="stable")
    confidence = confidence[order]
    # Texts of one confidence are answered together or not at all.
    last = np.append(confidence[1:] != confidence[:-1], True)
    return Coverage(confidence[last], np.flatnonzero(last) + 1, np.cumsum(right[order])[last], len(order))


# Numbers of answers that a threshold is looked for at, as so many equal parts of the texts: of few texts, and of more. Each of many
# has to be surer by itself; between few, texts go unanswered.
_FEW_STEPS, _STEPS, _FEW_TEXTS = 5, 10, 150


def confidence_for(curve: Coverage, accuracy: float, certainty: float = 0.9) -> float | None:
    """The lowest threshold from which on answers are so accurate, as far as the rows of the curve can tell.

    Thresholds are tested from the highest down, the most confident tenth of the texts first (of fewer than 150, a fifth), then two
    and so on, each by an exact binomial test, and together by the fallback procedure: each has an equal part of the chance to be
    wrong, and what a test has won goes on to the next (Wiens 2003, "A fixed sequence Bonferroni procedure for testing multiple
    endpoints"; for thresholds of models Angelopoulos et al. 2021, "Learn then Test", arXiv:2110.01052).

    Args:
        curve: Coverage curve of rows that the model was not trained on.
        accuracy: Fraction of the answers that is to be right (above 0, at most 1).
        certainty: Probability over draws of the rows that it is, all thresholds taken together (above 0, below 1). With few
            rows a threshold is higher, or there is none.

    Returns:
        A probability; None where no threshold will do.

    Raises:
        TransformerError: A number is out of its range.

    Example:
        >>> curve = coverage_curve(np.array([0] * 100), np.array([[.9, .1]] * 80 + [[.3, .7]] * 20))
        >>> confidence_for(curve, 0.9), confidence_for(curve, 0.99)
        (0.9, None)
    """
    if not 0 < accuracy <= 1:
        raise TransformerError(f"accuracy must be above 0 and at most 1; got {accuracy!r}")
    if not 0 < certainty < 1:
        raise TransformerError(f"certainty must be above 0 and below 1; got {certainty!r}")
    steps = _FEW_STEPS if curve.texts < _FEW_TEXTS else _STEPS
    parts = np.ceil(curve.texts * np.arange(1, steps + 1) / steps)
    # Texts of one confidence are answered together.
    looked_at = np.unique(np.minimum(np.searchsorted(curve.answered, parts), len(curve.answered) - 1))
    # Where even right answers alone would be too few, there is nothing to test.
    possible = looked_at[accuracy ** curve.answered[looked_at] <= (1 - certainty) / len(looked_at)]
    found, won = None, 0.0
    for place in possible:
        level = (1 - certainty) / len(possible) + won
        by_chance = stats.binom.sf(curve.right[place] - 1, curve.answered[place], accuracy)
        won = level if by_chance <= level else 0.0
        if won:
            found = float(curve.threshold[place])
    return found


def conformal_threshold(targets: np.ndarray, probabilities: np.ndarray, coverage: float = 0.9) -> float:
    """The probability from which on a label belongs to a text's set, so that sets hold the true label as often as asked.

    The promise holds for new rows of the same kind, on average over them and over the choice of the held-out rows,
    whatever the model is worth; a poor one pays with large sets. It does not hold within each class.

    Args:
        targets: (B,) ids of rows that the model was not trained on.
        probabilities: (B, C).
        coverage: Fraction of new texts whose set is to hold the true label (above 0, below 1).

    Returns:
        A probability; 0, which puts every label into every set, where the rows are too few for such a promise.

    Raises:
        TransformerError: The coverage is out of range, or shapes do not fit.

    Example:
        >>> held_out = np.linspace(0.5, 1, 99)
        >>> threshold = conformal_threshold(np.zeros(99, int), np.stack([held_out, 1 - held_out], 1), 0.9)
        >>> round(threshold, 3)
        0.546
    """
    if not 0 < coverage < 1:
        raise TransformerError(f"coverage must be above 0 and below 1; got {coverage!r}")
    targets, probabilities, _ = checked(_ids(targets), probabilities, range(np.shape(probabilities)[-1]), None)
    true = np.sort(probabilities[np.arange(len(targets)), targets])
    # One more than the rows there are: the new text is as likely as any to have the lowest probability.
    outside = math.floor((len(true) + 1) * (1 - coverage) + 1e-9)
    return float(true[outside - 1]) if outside else 0.0


def label_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """(B, C) True at the labels of each text's set: those from the threshold on, and always the likeliest.

    Example:
        >>> label_sets(np.array([[0.5, 0.4, 0.1], [0.9, 0.06, 0.04]]), 0.3).tolist()
        [[True, True, False], [True, False, False]]
    """
    probabilities = np.asarray(probabilities)
    return (probabilities >= threshold) | (probabilities == probabilities.max(-1, keepdims=True))


def _ids(targets: np.ndarray) -> np.ndarray:
    targets = np.asarray(targets)
    if targets.ndim != 1:
        raise TransformerError(f"targets must be (B,), one label a text; got shape {targets.shape}")
    return targets


# What a run's report looks thresholds up for.
ACCURACIES = (0.9, 0.95, 0.99)
COVERAGES = (0.8, 0.9, 0.95, 0.99)


class Confidence:
    """Quality of a classifier's probabilities: thresholds from some rows, checked on others; `str` is for a report.

    Args:
        held_out: Targets and probabilities, as `reliability` takes them, of rows that the model was not trained on:
            thresholds are chosen on them.
        tested: The same of further rows, on which everything is measured.
        temperature: The temperature that is part of all these probabilities, from the held-out rows.

    Attributes:
        metrics: The figures as plain Python values: `temperature`, `error` and `error_before` (the expected calibration
            error with and without it) and, with one label a text, `answers` (by wanted accuracy: `threshold`, `coverage`,
            `accuracy`) and `sets` (by wanted coverage: `threshold`, `coverage`, `size`).

    Raises:
        TransformerError: Shapes or values that do not fit.

    Example:
        >>> targets, probabilities = np.array([0, 1] * 20), np.array([[0.8, 0.2], [0.1, 0.9]] * 20)
        >>> found = Confidence((targets, probabilities), (targets, probabilities), temperature=2.0)
        >>> found.metrics["answers"]["0.9"]
        {'threshold': 0.8, 'coverage': 1.0, 'accuracy': 1.0}
    """

    def __init__(
        self,
        held_out: tuple[np.ndarray, np.ndarray],
        tested: tuple[np.ndarray, np.ndarray],
        temperature: float = 1.0,
    ) -> None:
        targets, probabilities = (np.asarray(part) for part in tested)
        several = targets.ndim == 2
        before = with_temperature(probabilities, 1 / temperature, several)
        self.reliability = reliability(targets, probabilities)
        self.reliability_before = reliability(targets, before)
        self.metrics: dict = {
            "temperature": float(temperature),
            "error": self.reliability.error,
            "error_before": self.reliability_before.error,
            "held_out": len(held_out[0]),
        }
        self.curve = None if several else coverage_curve(targets, probabilities)
        if not several:
            confidence, right = decisions(targets, probabilities)
            self.metrics["answers"] = _answers(coverage_curve(*held_out), confidence, right)
            self.metrics["sets"] = _sets(held_out, targets, probabilities)

    def __str__(self) -> str:
        m = self.metrics
        texts = "1 held-out text" if m["held_out"] == 1 else f"{m['held_out']:,} held-out texts"
        head = (
            f"Confidence: temperature {m['temperature']:.2f} from {texts}, calibration error {m['error']:.4f} "
            f"({m['error_before']:.4f} before)"
        )
        if self.curve is None:
            return head
        rows = [["wanted, as the held-out texts say", "probability from", "texts answered", "right"]]
        for wanted, row in m["answers"].items():
            threshold, right = (
                "-" if v is None else f(v)
                for v, f in ((row["threshold"], "{:.3f}".format), (row["accuracy"], "{:.1%}".format))
            )
            rows.append([f"{float(wanted):.0%} of the answers right", threshold, f"{row['coverage']:.1%}", right])
        rows.append(["", "", "labels a text", "in the set"])
        for wanted, row in m["sets"].items():
            rows.append(
                [
                    f"the label in {float(wanted):.0%} of the sets",
                    f"{row['threshold']:.3f}",
                    f"{row['size']:.2f}",
                    f"{row['coverage']:.1%}",
                ]
            )
        return f"{head}\n{text_table(rows)}"


def _answers(held_out: Coverage, confidence: np.ndarray, right: np.ndarray) -> dict[str, dict[str, float | None]]:
    found: dict[str, dict[str, float | None]] = {}
    for wanted in ACCURACIES:
        threshold = confidence_for(held_out, wanted)
        given = np.zeros(len(right), bool) if threshold is None else confidence >= threshold
        accuracy = float(right[given].mean()) if given.any() else None
        found[str(wanted)] = {"threshold": threshold, "coverage": float(given.mean()), "accuracy": accuracy}
    return found


def _sets(held_out: tuple, targets: np.ndarray, probabilities: np.ndarray) -> dict[str, dict[str, float]]:
    found = {}
    for wanted in COVERAGES:
        threshold = conformal_threshold(*held_out, wanted)
        sets = label_sets(probabilities, threshold)
        held = float(sets[np.arange(len(targets)), targets].mean())
        found[str(wanted)] = {"threshold": threshold, "coverage": held, "size": float(sets.sum(-1).mean())}
    return found
