"""What labels mean, whatever network the logits come from: targets to numbers, probabilities to names and figures."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.data.examples import Examples
from tftransformer.data.fields import Values
from tftransformer.data.labels import encode_targets, label_names
from tftransformer.data.split import require_labelled
from tftransformer.data.stream_labels import stream_encoder
from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import conformal_threshold, fit_temperature, label_sets, with_temperature
from tftransformer.evaluation.metrics import classification_metrics, multilabel_metrics, tune_threshold
from tftransformer.evaluation.reports import Report
from tftransformer.export.serving import Signature
from tftransformer.finetuning.arguments import check_number
from tftransformer.layers.heads import ClassificationHead


class Answer(NamedTuple):
    """What a classifier says of one text.

    Args:
        label: The label; None where its probability is below the one that was asked for; of a multi-label classifier
            the tuple of labels, which may be empty.
        probability: Probability of that label (0 to 1); multi-label: of each of them, in their order.
        probabilities: Probability of every label, in the order of the classifier's.
        label_set: The labels that the text may have, the likeliest first; None where no set was asked for.

    Example:
        >>> Answer("yes", 0.8, {"no": 0.2, "yes": 0.8}).label
        'yes'
    """

    label: str | tuple[str, ...] | None
    probability: float | tuple[float, ...]
    probabilities: dict[str, float]
    label_set: tuple[str, ...] | None = None


class Labelled:
    """Methods of whatever has `labels`, `multi_label`, `threshold` and `text_pairs`."""

    labels: Sequence[str]
    multi_label: bool
    threshold: float
    text_pairs: bool | None

    def traced_settings(self) -> tuple:
        """The metrics of a trace compare with this threshold."""
        return (self.threshold,)

    def encode_targets(self, targets: Any) -> Values:
        """Return label ids (B,), or one column for each label (B, C)."""
        return Values(encode_targets(targets, self.labels, self.multi_label))

    def encoded(self, targets: Any) -> np.ndarray:
        """Return the numbers of `encode_targets`, or what `Examples` hold of them already.

        Raises:
            TransformerError: The examples have no labels.
        """
        if not isinstance(targets, Examples):
            return self.encode_targets(targets).values
        if targets.targets is None:
            raise TransformerError("data must have labels; got examples without")
        return targets.targets.values

    def stream_encoder(self) -> Callable:
        """`encode_targets` for the labels of a dataset's batches, in TensorFlow operations."""
        return stream_encoder(self.labels, self.multi_label)

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
    ) -> list[Answer]:
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
            answers.append(Answer(label if sure else None, chosen, every, label_set))
        return answers

    def _label_sets(self, probabilities: np.ndarray, threshold: float) -> list[tuple[str, ...]]:
        # Stable, so that of equally likely labels the predicted one, which is the first, comes first.
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        sizes = label_sets(probabilities, threshold).sum(-1)
        return [tuple(self.labels[i] for i in row[:size]) for row, size in zip(order, sizes, strict=True)]

    def target_classes(self) -> tuple:
        """The labels, and whether a text has several."""
        return (tuple(self.labels), self.multi_label)

    def signature(self, **parts: Any) -> Signature:
        """What a server answers.

        Args:
            parts: `sequence_length`, `prepare`, `network` and `layers` of a `Signature`, whose output is logits (B, C).
        """
        inputs = ("text", "text_pair") if self.text_pairs else ("text",)
        own = {"answers": self.served_answers, "compared": "probabilities", "shape": (len(self.labels),)}
        return Signature(inputs=inputs, **own, **parts)

    def served_answers(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """What a server answers for logits (B, C).

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


@dataclasses.dataclass
class ClassificationTask(Labelled):
    """One of the tasks of a `MultiTaskClassifier`.

    Args:
        labels: The C names of the classes, in the order of the logits.
        multi_label: A text may have any number of the labels.
        threshold: Multi-label: the probability from which on a label is predicted.
        text_pairs: Whether it takes pairs; None until `fit` is given some or single texts.

    Raises:
        TransformerError: Fewer than two labels, or one twice.

    Example:
        >>> ClassificationTask(["no", "yes"]).predicted_labels(np.array([[0.2, 0.8]]))
        ['yes']
    """

    labels: Sequence[str]
    multi_label: bool = False
    threshold: float = 0.5
    text_pairs: bool | None = None

    def __post_init__(self) -> None:
        self.labels = label_names(self.labels)
