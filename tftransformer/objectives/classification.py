"""Classification: labels to numbers, logits to probabilities, names and figures."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.data.examples import Examples
from tftransformer.data.fields import Field, Values
from tftransformer.data.labels import encode_targets, label_names
from tftransformer.data.split import Split, require_labelled
from tftransformer.data.stream_labels import stream_encoder
from tftransformer.errors import TransformerError
from tftransformer.evaluation.baselines import tfidf_baseline
from tftransformer.evaluation.calibration import conformal_threshold, fit_temperature, label_sets, with_temperature
from tftransformer.evaluation.keras_metrics import MacroF1, MultiLabelAccuracy, MultiLabelF1
from tftransformer.evaluation.metrics import classification_metrics, multilabel_metrics, row_losses, tune_threshold
from tftransformer.evaluation.reports import Report, write_predictions
from tftransformer.finetuning.arguments import check_number
from tftransformer.finetuning.balancing import class_weights
from tftransformer.finetuning.guards import chance_loss
from tftransformer.finetuning.losses import SmoothedCrossEntropy
from tftransformer.layers.heads import ClassificationHead
from tftransformer.objectives.adapted import AdaptedMetric, adapt_loss, adapt_metrics
from tftransformer.objectives.objective import Objective


class Prediction(NamedTuple):
    """A classifier's answer to one text.

    Args:
        label: The label; None where its probability is below the one that was asked for; of a multi-label classifier
            the tuple of labels, which may be empty.
        probability: Probability of that label (0 to 1); multi-label: of each of them, in their order.
        probabilities: Probability of every label, in the order of the classifier's.
        label_set: The labels that the text may have, the likeliest first; None where no set was asked for.

    Example:
        >>> Prediction("yes", 0.8, {"no": 0.2, "yes": 0.8}).label
        'yes'
    """

    label: str | tuple[str, ...] | None
    probability: float | tuple[float, ...]
    probabilities: dict[str, float]
    label_set: tuple[str, ...] | None = None


# Losses that can be compared with that of guessing.
_CROSS_ENTROPIES = (
    keras.losses.SparseCategoricalCrossentropy, keras.losses.BinaryCrossentropy, SmoothedCrossEntropy
)  # fmt: skip


@dataclasses.dataclass
class Classification(Objective):
    """Logits (B, C) of classes: one label a row, or any number of them.

    Args:
        labels: The C names of the classes, in the order of the logits.
        multi_label: A row may have any number of the labels.
        threshold: Multi-label: the probability from which on a label is predicted.

    Raises:
        TransformerError: Fewer than two labels, or one twice.

    Example:
        >>> Classification(["no", "yes"]).predicted_labels(np.array([[0.2, 0.8]]))
        ['yes']
    """

    labels: Sequence[str]
    multi_label: bool = False
    threshold: float = 0.5

    def __post_init__(self) -> None:
        self.labels = label_names(self.labels)

    # Targets.

    def encode(self, targets: Any) -> Values:
        """Return label ids (B,), or one column for each label (B, C)."""
        return Values(encode_targets(targets, self.labels, self.multi_label))

    def encoded(self, targets: Any) -> np.ndarray:
        """Return the numbers of `encode`, or what `Examples` hold of them already.

        Raises:
            TransformerError: The examples have no labels.
        """
        if not isinstance(targets, Examples):
            return self.encode(targets).values
        if targets.targets is None:
            raise TransformerError("data must have labels; got examples without")
        return targets.targets.values

    def stream_encoder(self) -> Callable:
        return stream_encoder(self.labels, self.multi_label)

    @property
    def classes(self) -> tuple:
        """The labels, and whether a row has several."""
        return (tuple(self.labels), self.multi_label)

    # Training.

    def compiled(self, loss: Any, metrics: Any, weighted_metrics: Any, smoothing: float) -> dict[str, Any]:
        """Return loss and metrics; cross-entropy, accuracy and F1 where none are given. Keras's are given what they read."""
        arguments = {
            "loss": self.loss(smoothing) if loss in (None, "crossentropy", "ce") else adapt_loss(loss, self),
            "metrics": self.metrics() if metrics is None else adapt_metrics("metrics", metrics, self),
        }
        if weighted_metrics is not None:
            arguments["weighted_metrics"] = adapt_metrics("weighted_metrics", weighted_metrics, self)
        for name in arguments.keys() - {"loss"}:
            self.follow(arguments[name])
        return arguments

    def loss(self, smoothing: float = 0.0) -> keras.losses.Loss:
        """Return cross-entropy over the logits of all labels or, multi-label, of each."""
        if self.multi_label:
            return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
        if smoothing:
            return SmoothedCrossEntropy(smoothing)
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return accuracy and macro-F1; multi-label, micro- and macro-F1."""
        count = len(self.labels)
        if not self.multi_label:
            return [keras.metrics.SparseCategoricalAccuracy(name="accuracy"), MacroF1(count)]
        return [MultiLabelF1(count, average=name, threshold=None, from_logits=True) for name in ("micro", "macro")]

    def follow(self, parts: Any) -> Any:
        """Return the metrics, of which those without a threshold of their own compare with this one."""
        for metric in keras.tree.flatten(parts):
            metric = metric.metric if isinstance(metric, AdaptedMetric) else metric
            if isinstance(metric, (MultiLabelAccuracy, MultiLabelF1)):
                metric.follow(self)
        return parts

    def traced(self) -> tuple:
        return (self.threshold,)

    def class_weights(self, given: Any, targets: Field | None) -> tf.Tensor | None:
        if given is None:
            return None
        if self.multi_label:
            raise TransformerError("class_weight is for one label a text; weigh the examples with sample_weight")
        if targets is None and isinstance(given, str):
            raise TransformerError(
                f"class_weight={given!r} needs all labels at once, which a tf.data.Dataset does not give: "
                "pass a weight for each label"
            )
        names = [self.labels[i] for i in targets.values] if isinstance(targets, Values) else []
        weights = class_weights(given, names, self.labels)
        return None if weights is None else tf.constant([weights[i] for i in range(len(self.labels))], tf.float32)

    def chance_loss(self, loss: Any, targets: Values, weights: np.ndarray | None) -> float | None:
        if not isinstance(loss, _CROSS_ENTROPIES) or loss.reduction != "sum_over_batch_size":
            return None
        return chance_loss(targets.values, len(self.labels), getattr(loss, "label_smoothing", 0.0), weights)

    def row_losses(self, targets: Values, outputs: np.ndarray) -> np.ndarray:
        return row_losses(targets.values, outputs)

    # Predictions.

    def activate(self, output: Any) -> Any:
        """(B, C) logits as probabilities."""
        return ops.sigmoid(output) if self.multi_label else ops.softmax(output, axis=-1)

    def predicted_labels(self, probabilities: np.ndarray) -> list:
        """The label, or for multi-label data the tuple of labels, of each row of probabilities."""
        if self.multi_label:
            chosen = probabilities >= self.threshold
            return [tuple(label for label, on in zip(self.labels, row) if on) for row in chosen]
        return [self.labels[i] for i in probabilities.argmax(axis=-1)]

    def answers(
        self, probabilities: np.ndarray, min_probability: float = 0.0, label_set_threshold: float | None = None
    ) -> list[Prediction]:
        """Label and probabilities of each row (B, C) of what `predict` returned.

        Args:
            probabilities: (B, C).
            min_probability: Leave the label of less likely answers out (between 0 and 1).
            label_set_threshold: The probability from which on a label is in a text's `label_set` (between 0 and 1). None:
                no sets.

        Raises:
            TransformerError: A threshold is not between 0 and 1, or is for a classifier of several labels a text.
        """
        for name, value in (("min_probability", min_probability), ("label_set_threshold", label_set_threshold)):
            if value is not None:
                check_number(name, value, "between 0 and 1", lambda value: 0 <= value <= 1)
        if self.multi_label and (min_probability or label_set_threshold is not None):
            name = "min_probability" if min_probability else "label_set_threshold"
            raise TransformerError(f"{name} is for one label a text; several are chosen by the threshold")
        sets: Sequence = [None] * len(probabilities)
        if label_set_threshold is not None:
            sets = self._label_sets(probabilities, label_set_threshold)
        answers = []
        rows = zip(self.predicted_labels(probabilities), probabilities.tolist(), sets, strict=True)
        for label, row, label_set in rows:
            every = dict(zip(self.labels, row, strict=True))
            chosen = tuple(every[name] for name in label) if self.multi_label else every[label]
            sure = self.multi_label or chosen >= min_probability
            answers.append(Prediction(label if sure else None, chosen, every, label_set))
        return answers

    def _label_sets(self, probabilities: np.ndarray, threshold: float) -> list[tuple[str, ...]]:
        # Stable, so that of equally likely labels the predicted one, which is the first, comes first.
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        sizes = label_sets(probabilities, threshold).sum(-1)
        return [tuple(self.labels[i] for i in row[:size]) for row, size in zip(order, sizes, strict=True)]

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.labels),)

    compared = "probabilities"

    def served(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return a server's answer for logits (B, C).

        Returns:
            `probabilities` (B, C) float32, `label_id` (B,) int32 and `label` (B,) string; for several labels a text
            `label_id` (B, C) int32 holds 1 at those over the threshold, and `label` their names joined by "|".
        """
        names, probabilities = tf.constant(list(self.labels), tf.string), self.activate(output)
        if self.multi_label:
            chosen = probabilities >= self.threshold
            several = tf.ragged.boolean_mask(tf.broadcast_to(names, tf.shape(chosen)), chosen)
            label_id, label = (tf.cast(chosen, tf.int32), tf.strings.reduce_join(several, axis=1, separator="|"))
        else:
            label_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
            label = tf.gather(names, label_id)
        return {"probabilities": tf.cast(probabilities, tf.float32), "label_id": label_id, "label": label}

    def metrics_of(self, targets: Any, probabilities: np.ndarray) -> dict:
        """The figures of a report as a dict, from labels (or labelled `Examples`) and what `predict` returned."""
        encoded = self.encoded(targets)
        if self.multi_label:
            return multilabel_metrics(encoded, probabilities, self.labels, self.threshold)
        return classification_metrics(encoded, probabilities, self.labels)

    def report_of(self, targets: Any, probabilities: np.ndarray, baseline: dict | None = None) -> Report:
        """Precision, recall, F1, intervals and confusion; `print` it."""
        return Report(self.metrics_of(targets, probabilities), self.labels, baseline)

    @property
    def monitor(self) -> tuple[str, str]:
        return ("val_micro_f1" if self.multi_label else "val_macro_f1"), "max"

    def report(self, data: Any, outputs: np.ndarray, baselines: Sequence[dict] = ()) -> Report:
        """Return precision, recall, F1, intervals and confusion; `print` it. Of baselines the first is shown."""
        return self.report_of(self.labels_of(data), outputs, next(iter(baselines), None))

    def baselines(self, train: Split, test: Split, seed: int = 0) -> list[dict]:
        """Return the figures of word counting, TF-IDF and logistic regression."""
        targets = [self.encoded(split.targets) for split in (train, test)]
        return [tfidf_baseline(train.texts, targets[0], test.texts, targets[1], self.labels, seed)]

    def write_predictions(self, path: str | os.PathLike, data: Split, outputs: np.ndarray) -> None:
        """Write a CSV file with a row a text: `text`, `label`, `prediction` and its `probability`."""
        write_predictions(path, data.texts, data.targets, self.predicted_labels(outputs), outputs)

    def labels_of(self, data: Any) -> Any:
        """The labels of a labelled split, or examples that have some.

        Raises:
            TransformerError: It is something else, or without labels.
        """
        return data if isinstance(data, Examples) else require_labelled(data).targets

    def calibrate_on(self, targets: Any, probabilities: np.ndarray, head: ClassificationHead) -> float:
        """Divide a head's logits by the temperature at which the targets are likeliest, and return it."""
        temperature = fit_temperature(self.encoded(targets), probabilities)
        head.divide(temperature)
        if 0 < self.threshold < 1:
            self.threshold = float(with_temperature(self.threshold, temperature, multi_label=True))
        return temperature

    def conformal_threshold_on(self, targets: Any, probabilities: np.ndarray | None, coverage: float) -> float:
        """The `label_set_threshold` for sets that hold the label as often as asked, from held-out rows.

        Raises:
            TransformerError: The classifier is one of several labels a text, or the coverage is out of range.
        """
        if self.multi_label:
            raise TransformerError("conformal_threshold is for one label a text; several are chosen by the threshold")
        return conformal_threshold(self.encoded(targets), probabilities, coverage)

    def tune_on(self, targets: Any, probabilities: np.ndarray) -> float:
        """Set the multi-label threshold to the one with the best micro-F1, and return it."""
        if not self.multi_label:
            raise TransformerError("tune_threshold is for multi-label classifiers; this one picks the likeliest label")
        self.threshold = float(tune_threshold(self.encoded(targets), probabilities))
        return self.threshold
