"""A drift report: are new texts still of the kind that a classifier was trained on?"""

import dataclasses
import os
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.data.texts import as_texts
from tftransformer.errors import TransformerError
from tftransformer.evaluation.plots import plot_drift
from tftransformer.evaluation.reports import text_table
from tftransformer.evaluation.two_samples import (
    Comparison,
    Distance,
    Term,
    compare,
    count_matrix,
    discrepancy,
    frequency_distance,
    kolmogorov_smirnov,
    new_terms,
)
from tftransformer.layers.taps import tapped
from tftransformer.runs.finished_runs import load_classifier, run_splits
from tftransformer.runs.options import options_of
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.text_classifier import TextClassifier

# Probability that any of the measures is above its noise though nothing has changed.
LEVEL = 0.05
_EACH = LEVEL / 6
_ROWS = 64
# Columns of the printed report, and labels in it.
_WIDTH = 110
_LABELS = 12


@dataclasses.dataclass(frozen=True)
class Measure:
    """One way in which texts may differ.

    Attributes:
        name: Name of what is compared.
        old, new: Figures before and now, for people; empty where no number says it.
        comparison: Distance, noise and p-value.
        drifted: Whether the distance is beyond noise.
    """

    name: str
    old: str
    new: str
    comparison: Comparison
    drifted: bool


@dataclasses.dataclass(frozen=True)
class DriftReport:
    """Result of `drift_report`; `print` it.

    Attributes:
        measures: Measures of lengths, unknown tokens, tokens, predicted labels, confidence, vectors.
        labels: (label, fraction before, fraction now) of the predictions.
        terms: Words that more of the new texts have.
        rows: Number of texts that were compared: trained on, held out (0 where none were given), new.
        splits: Random divisions behind each p-value.
    """

    measures: tuple[Measure, ...]
    labels: tuple[tuple[str, float, float], ...]
    terms: tuple[Term, ...]
    rows: tuple[int, int, int]
    splits: int

    @property
    def drifted(self) -> tuple[str, ...]:
        """The names of the measures beyond noise."""
        return tuple(measure.name for measure in self.measures if measure.drifted)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""
        return dataclasses.asdict(self)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw the measures beside their noise, and the predicted labels, into a PNG."""
        found = [measure.comparison for measure in self.measures]
        ratios = [max(c.distance, 0.0) / c.noise if c.noise > 0 else 1e3 * (c.distance > 0) for c in found]
        names = [measure.name for measure in self.measures]
        plot_drift(path, names, ratios, *zip(*self.labels))

    def __str__(self) -> str:
        trained, held, new = self.rows
        beside = f"{trained:,} of training" + (f" and {held:,} held out" if held else "")
        parts = [
            f"Drift: {new:,} new texts beside {beside}",
            self._measures(),
            self._verdict(),
            self._labels(),
            self._terms(),
        ]
        return "\n\n".join(part for part in parts if part)

    def _measures(self) -> str:
        rows = [["", "before", "now", "distance", "noise ends", "p", ""]]
        for measure in self.measures:
            found = measure.comparison
            numbers = [f"{found.distance:.4f}", f"{found.noise:.4f}", f"{found.p_value:.3f}"]
            rows.append([measure.name, measure.old, measure.new, *numbers, "DRIFTED" if measure.drifted else "noise"])
        return text_table(rows, left=(0, 6))

    def _verdict(self) -> str:
        count = len(self.measures)
        found = self.drifted
        lines = [
            f"Beyond noise: {', '.join(found)}." if found else "Nothing is beyond noise.",
            f"Noise is how far apart random parts of all these texts, of the same sizes, are ({self.splits} divisions). If "
            f"nothing has changed, at most {LEVEL:.0%} of reports find any of the {count} measures beyond it. Drift says that "
            "texts are others, not that answers are wrong: label some of them and evaluate.",
        ]
        if not self.rows[1]:
            lines.append(
                "No texts were held out: predictions, confidence and vectors are compared with those for texts that the "
                "classifier was trained on, of which it is surer than of any others."
            )
        return "\n".join(textwrap.fill(line, _WIDTH) for line in lines)

    def _labels(self) -> str:
        changed = sorted(self.labels, key=lambda row: -abs(row[2] - row[1]))[:_LABELS]
        chosen = [row for row in self.labels if row in changed]
        rows = [["predicted", "before", "now"]]
        rows += [[" ".join(label.split())[:40], f"{old:.1%}", f"{new:.1%}"] for label, old, new in chosen]
        more = len(self.labels) - len(chosen)
        return text_table(rows) + (f"\n… and {more} labels that changed less" if more else "")

    def _terms(self) -> str:
        if not self.terms:
            return ""
        trained, _, new = self.rows
        shown = ", ".join(f"{term.term} ({term.new / new:.0%}, {term.old / trained:.0%})" for term in self.terms)
        return textwrap.fill(f"In more of the new texts (fraction of the new, of the old): {shown}", _WIDTH)


def drift_report(
    train_texts: Any,
    new_texts: Any,
    classifier: TextClassifier,
    *,
    held_out: Any = None,
    max_texts: int = 1000,
    splits: int = 240,
    seed: int = 0,
) -> DriftReport:
    """Compare new texts, and what a classifier makes of them, with those that it was trained on.

    Every distance stands beside those of random divisions of old and new texts together, of the same sizes: up to the
    largest of these but for the rarest, it is noise. Where nothing has changed, at most 5 % of all reports find anything
    beyond noise (each of the six measures a sixth of that).

    Args:
        train_texts: Texts that the classifier was trained on: a Split, texts or pairs.
        new_texts: Texts that it gets now; their labels are not looked at.
        classifier: The classifier.
        held_out: Texts of the old kind that it was not trained on, such as its test split, to compare predictions, confidence
            and vectors with. None: `train_texts`, of which it is surer than of any other texts.
        max_texts: Number of texts of each kind that are compared, drawn by `seed`.
        splits: Random divisions, at least 120.
        seed: Random seed of the draws.

    Returns:
        The report; it has `plot` and `to_dict`.

    Raises:
        TransformerError: Another kind of classifier, fewer than 2 texts, a number out of range, or pairs among single texts.

    Example:
        >>> print(drift_report(train, new_texts, classifier, held_out=test))  # doctest: +SKIP
    """
    if not isinstance(classifier, TextClassifier) or classifier.in_chunks:
        raise TransformerError(f"classifier must be a TextClassifier; got {type(classifier).__name__}")
    for name, value, least in (("max_texts", max_texts, 2), ("splits", splits, round(1 / _EACH))):
        if value < least:
            raise TransformerError(f"{name} must be at least {least}; got {value}")
    given = {"train_texts": train_texts, "held_out": held_out, "new_texts": new_texts}
    texts = {name: _drawn(values, max_texts, seed) for name, values in given.items() if values is not None}
    for name, rows in texts.items():
        if len(rows) < 2:
            raise TransformerError(f"{name} must hold at least 2 texts; got {len(rows)}")
    examples = {name: classifier.preprocess(rows) for name, rows in texts.items()}
    if len({int(part.tokens.segments.max()) for part in examples.values()}) > 1:
        raise TransformerError("texts must be single texts everywhere, or pairs everywhere; got both")
    reference = examples.get("held_out", examples["train_texts"])
    draws = {"splits": splits, "seed": seed}
    of_texts = _text_measures(classifier, examples["train_texts"], examples["new_texts"], draws)
    of_model, fractions = _model_measures(classifier, reference, examples["new_texts"], draws)
    return DriftReport(
        measures=(*of_texts, *of_model),
        labels=tuple(zip(classifier.labels, *fractions)),
        terms=tuple(new_terms(texts["train_texts"], texts["new_texts"])),
        rows=tuple(len(texts.get(name, ())) for name in ("train_texts", "held_out", "new_texts")),
        splits=splits,
    )


def _text_measures(classifier: TextClassifier, before: Examples, now: Examples, draws: dict[str, int]) -> list[Measure]:
    sizes = len(before), len(now)
    old, new = np.arange(sizes[0]), np.arange(sizes[0], sum(sizes))
    lengths = np.concatenate([before.tokens.full_lengths, now.tokens.full_lengths])
    cut = lengths > classifier.sequence_length
    ids = np.concatenate([before.tokens.token_ids, now.tokens.token_ids])
    starts = np.concatenate([before.tokens.row_splits, now.tokens.row_splits[1:] + before.tokens.row_splits[-1]])
    tokenizer = classifier.tokenizer
    unknown = np.add.reduceat(ids == tokenizer.unknown_id, starts[:-1]).astype("float64")
    counts = count_matrix(ids, starts, (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id))
    tokens = np.diff(starts)

    def unknown_fraction(rows: np.ndarray) -> float:
        return float(unknown[rows].sum() / tokens[rows].sum())

    def length(rows: np.ndarray) -> str:
        return f"{np.median(lengths[rows]):.0f} ({cut[rows].mean():.0%} cut)"

    return [
        _measure("length in tokens", lambda a, b: kolmogorov_smirnov(lengths[a], lengths[b]), sizes, draws,
                 length(old), length(new)),
        _measure("unknown tokens", lambda a, b: abs(unknown_fraction(a) - unknown_fraction(b)), sizes, draws,
                 f"{unknown_fraction(old):.2%}", f"{unknown_fraction(new):.2%}"),
        _measure("tokens used", frequency_distance(counts), sizes, draws),
    ]  # fmt: skip


def _model_measures(
    classifier: TextClassifier, before: Examples, now: Examples, draws: dict[str, int]
) -> tuple[list[Measure], list[list[float]]]:
    """The measures, and the fraction of each label before and now."""
    sizes = len(before), len(now)
    (old, old_vectors), (new, new_vectors) = (_predictions(classifier, part) for part in (before, now))
    picked = [_indicators(classifier, probabilities) for probabilities in (old, new)]
    sure = [_confidence(classifier, probabilities) for probabilities in (old, new)]
    chosen, certain = np.concatenate(picked), np.concatenate(sure)
    # Where one label is predicted, what one gains others lose.
    scale = 1.0 / len(classifier.labels) if classifier.multi_label else 0.5

    def labels(first: np.ndarray, second: np.ndarray) -> float:
        return scale * float(np.abs(chosen[first].mean(axis=0) - chosen[second].mean(axis=0)).sum())

    measures = [
        _measure("predicted labels", labels, sizes, draws),
        _measure("confidence", lambda a, b: kolmogorov_smirnov(certain[a], certain[b]), sizes, draws,
                 *(f"{values.mean():.3f}" for values in sure)),
        _measure("vectors", discrepancy(np.concatenate([old_vectors, new_vectors])), sizes, draws),
    ]  # fmt: skip
    return measures, [rows.mean(axis=0).tolist() for rows in picked]


def _measure(
    name: str, distance: Distance, sizes: tuple[int, int], draws: dict[str, int], old: str = "", new: str = ""
) -> Measure:
    found = compare(distance, *sizes, level=_EACH, **draws)
    return Measure(name, old, new, found, found.p_value <= _EACH)


def report_run(run: str | Path, texts: str | Path, plot: str | None = None, seed: int = 0) -> DriftReport:
    """The drift report of a finished run's model on the texts of a file, which is also printed.

    Predictions are compared with those for the run's validation and test rows.
    """
    options = options_of(RunFolder.open(run, argument="model"), over_chunks=False)
    new = read_texts(texts, options.text_columns)
    splits = run_splits(run)
    classifier = load_classifier(run)
    held_out = [text for split in splits[1:] if split is not None for text in split.texts]
    report = drift_report(splits.train, new, classifier, held_out=held_out or None, seed=seed)
    print(report)
    if plot:
        report.plot(plot)
        print(f"\nThe plot is in {plot}.")
    return report


def _drawn(texts: Any, most: int, seed: int) -> list:
    texts = as_texts(texts)
    rows = texts.first if texts.second is None else list(zip(texts.first, texts.second))
    if len(rows) <= most:
        return list(rows)
    return [rows[i] for i in np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]


def _predictions(classifier: TextClassifier, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (B, C), and the pooled vectors (B, D) that the head sees."""

    def run(inputs: dict) -> tuple:
        with tapped("pooled") as taps:
            logits = classifier(inputs, training=False)
        return classifier.objective.activate(tf.cast(logits, tf.float32)), tf.cast(taps["pooled"], tf.float32)

    if len(examples) > 4 * _ROWS:
        run = tf.function(run, reduce_retracing=True, autograph=False)
    order = np.argsort(-examples.lengths, kind="stable")
    probabilities = np.zeros((len(examples), len(classifier.labels)), "float32")
    vectors = np.zeros((len(examples), classifier.config.hidden_dim), "float32")
    for start in range(0, len(order), _ROWS):
        rows = order[start : start + _ROWS]
        inputs = examples.features(rows, int(examples.lengths[rows].max()))
        made = run({name: tf.constant(value) for name, value in inputs.items()})
        probabilities[rows], vectors[rows] = (part.numpy() for part in made)
    return probabilities, vectors


def _indicators(classifier: TextClassifier, probabilities: np.ndarray) -> np.ndarray:
    """(B, C): 1 where a label is predicted."""
    if classifier.multi_label:
        return (probabilities >= classifier.threshold).astype("float64")
    return np.eye(probabilities.shape[1])[probabilities.argmax(axis=1)]


def _confidence(classifier: TextClassifier, probabilities: np.ndarray) -> np.ndarray:
    """(B,): the probability of what is predicted; over labels, where several may be, its mean."""
    if classifier.multi_label:
        return np.maximum(probabilities, 1 - probabilities).mean(axis=1)
    return probabilities.max(axis=1)
