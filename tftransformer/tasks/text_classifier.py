"""Text classification: an encoder, pooling and a linear head over raw texts, single- or multi-label."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.examples import Examples
from tftransformer.data.labels import label_names
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, check_whole
from tftransformer.evaluation.reports import Report
from tftransformer.layers.heads import ClassificationHead
from tftransformer.objectives.classification import Classification, Prediction
from tftransformer.tasks.saved import task_on_preset
from tftransformer.tasks.task import Task
from tftransformer.text.base import Tokenizer

# Settings of a saved classifier that a new one takes over where its labels are the same.
_OF_LABELS = ("multi_label", "threshold", "text_pairs")


@keras.saving.register_keras_serializable(package="tftransformer")
class TextClassifier(Task):
    """A classifier over raw texts or pairs of texts; usually made by `from_preset`.

    Its parts can be used alone: `encoder` (a functional model), `extra_blocks`, `pooler`, `head`, `tokenizer`.
    Called on integer inputs it returns (B, C) logits; `predict` takes texts and returns probabilities.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        labels: The C names of the classes, in the order of the logits; `data.labels` says what names numbers and
            booleans have, and what the values of targets mean.
        pooling: "cls", "mean" or "max": how a text's vectors become one.
        pooler: With "cls": the family's dense layer and activation on the first vector (BERT's tanh).
        extra_blocks: Transformer blocks of the same sizes, named `extra_block_{i}`, between the encoder and
            the pooling. They start fresh, and freezing by number never counts them: freezing the encoder and
            training one block and the head is a recipe of medical text mining.
        head_dropout: Dropout rate on the pooled vector (0 to 1).
        multi_label: A text may have any number of the labels.
        threshold: Multi-label: the probability from which on a label is predicted; `tune_threshold` sets it.
        text_pairs: Whether it takes pairs; None until `fit` is given some or single texts.
        sequence_length: Longest sequence in tokens. None: the encoder's `max_sequence_length`.
        seed: Random seed of the order of the training examples.
        dtype: Keras dtype policy, such as "mixed_bfloat16". None: the global one.
        name: Name of the Keras model.

    Raises:
        TransformerError: Too few or double labels, a length that the encoder cannot take, a vocabulary of another
            size.

    Example:
        >>> classifier = TextClassifier.from_preset("bert_12x192_en_uncased", labels=["no", "yes"])
        >>> classifier.predict(["perhaps"], verbose=0).shape
        (1, 2)
    """

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        labels: Sequence[str],
        *,
        multi_label: bool = False,
        threshold: float = 0.5,
        text_pairs: bool | None = None,
        name: str = "text_classifier",
        **options: Any,
    ) -> None:
        objective = Classification(labels, multi_label, threshold)
        super().__init__(config, tokenizer, objective=objective, name=name, **options)
        self.preprocessor.pairs = text_pairs
        self.add_head(
            ClassificationHead(len(objective.labels), self.network.head_dropout, dtype=self.dtype_policy, name="head")
        )

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike | Preset,
        labels: Sequence[str] | None = None,
        *,
        num_classes: int | None = None,
        load_weights: bool = True,
        **options: Any,
    ) -> "TextClassifier":
        """A classifier on the encoder of a preset, with its head where labels are the same or not given.

        Args:
            preset: Anything that `checkpoints.load_preset` takes: the embedded preset's name, a keras-nlp name
                or handle, a Hugging Face folder, a folder of `save_to_preset`, or a `Preset`.
            labels: Names of the classes. None: those of the preset, if it was saved with a head.
            num_classes: In place of names: how many classes there are. They are called "0", "1" and so on, unless the
                preset has names for as many.
            load_weights: False builds the same network from random numbers, as a baseline.
            options: Other arguments of the constructor, which take the place of the preset's, and
                `dropout`, the rate inside the encoder while it is fine-tuned.

        Returns:
            The classifier. `load_summary` says what was loaded and what is newly initialized.

        Raises:
            TransformerError: The preset is unknown, broken or of another family, or has no labels.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        labels = _class_names(found, labels, num_classes)
        if labels is None:
            raise TransformerError(
                f"labels or num_classes must be given: the preset {found.name!r} has no classification head"
            )
        same_task = (found.labels is None or labels == tuple(found.labels)) and "kind" not in found.head
        kept = (*cls.kept_settings, *_OF_LABELS) if same_task else cls.kept_settings
        # A head is its labels: with others, even as many, its rows would answer other questions.
        fresh = () if same_task else ("head/.*",)
        options["labels"] = labels
        return task_on_preset(cls, found, options, kept=kept, fresh=fresh, load_weights=load_weights)

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return tuple(self.objective.labels)

    @property
    def multi_label(self) -> bool:
        """True if a text may have any number of the labels."""
        return self.objective.multi_label

    @property
    def threshold(self) -> float:
        """Multi-label: the probability from which on a label is predicted."""
        return self.objective.threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        self.objective.threshold = value

    def predicted_labels(self, probabilities: np.ndarray) -> list:
        """Return the label, or for multi-label data the tuple of labels, of each row (B, C) of probabilities."""
        return self.objective.predicted_labels(probabilities)

    def classify(
        self,
        texts: Any,
        batch_size: int | None = None,
        min_probability: float = 0.0,
        label_set_threshold: float | None = None,
    ) -> list[Prediction]:
        """Label and probabilities of each text, by name; `predict` has the probabilities alone, as an array.

        Args:
            texts: In any form that `predict` takes.
            batch_size: Rows a batch; None: as `predict`.
            min_probability: Leave the label of less likely answers out (between 0 and 1); a run's report says from which
                probability on how many answers are right.
            label_set_threshold: Give each text the set of the labels that are so likely (between 0 and 1), and of the
                likeliest in any case; `conformal_threshold` finds one. None: no sets.

        Returns:
            For each text an `Prediction` with `label`, `probability`, `probabilities` and `label_set`, in the order of the texts.

        Raises:
            TransformerError: A threshold is not between 0 and 1, or is for a multi-label classifier.

        Example:
            >>> classifier.classify(["no refund after three weeks"])
            [Prediction(label='...', probability=0..., probabilities={'no': 0..., 'yes': 0...}, label_set=None)]
        """
        probabilities = self.predict(texts, batch_size, verbose=0)
        return self.objective.answers(probabilities, min_probability, label_set_threshold)

    def calibrate(self, data: Split | Examples) -> float:
        """Make probabilities say how often a label is right, by labelled rows that the model was not trained on.

        The head's weights are divided by one temperature (`evaluation.calibration.fit_temperature`), so that saved
        folders of every format, exports and further training have it. No decision changes: a multi-label
        threshold moves along.

        Args:
            data: A Split with targets, or `Examples` that `preprocess` made of one.

        Returns:
            The temperature; above 1 where the model was too sure.

        Raises:
            TransformerError: The data have no labels, or a LoRA of the head is not merged.

        Example:
            >>> temperature = classifier.calibrate(Split(["perhaps", "surely"], ["no", "yes"]))
        """
        return self.objective.calibrate_on(self.objective.labels_of(data), self.predict(data, verbose=0), self.head)

    def conformal_threshold(self, data: Split | Examples, coverage: float = 0.9) -> float:
        """The `label_set_threshold` of `classify` for sets that hold the right label as often as asked.

        Split conformal prediction (`evaluation.conformal_threshold` says what is promised). It is of the classifier as it
        is: calibrate before, and find it anew after further training.

        Args:
            data: A Split with targets, or `Examples` that `preprocess` made of one; rows that it was not trained on.
            coverage: Fraction of new texts whose set is to hold the right label (above 0, below 1).

        Returns:
            A probability; 0, by which every set holds every label, where the rows are too few for such a promise.

        Raises:
            TransformerError: The data have no labels, the coverage is out of range, or the classifier is multi-label.

        Example:
            >>> held_out = Split(["perhaps", "surely", "hardly"], ["no", "yes", "no"])
            >>> threshold = classifier.conformal_threshold(held_out, coverage=0.5)
            >>> classifier.classify(["no refund after three weeks"], label_set_threshold=threshold)[0].label_set
            (...)
        """
        probabilities = None if self.multi_label else self.predict(data, verbose=0)
        return self.objective.conformal_threshold_on(self.objective.labels_of(data), probabilities, coverage)

    def tune_threshold(self, data: Any) -> float:
        """Set the multi-label threshold to the one with the best micro-F1 on labelled data, and return it."""
        return self.objective.tune_on(
            self.objective.labels_of(data), self.predict(data, verbose=0) if self.multi_label else None
        )

    def report(self, data: Split | Examples, baseline: dict | None = None) -> Report:
        """Precision, recall, F1, intervals and confusion on labelled data; `print` it.

        Args:
            data: A Split with targets, or `Examples` that `preprocess` made of one.
            baseline: Result of `evaluation.tfidf_baseline` on the same texts, to stand beside it.
        """
        return self.objective.report_of(self.objective.labels_of(data), self.predict(data, verbose=0), baseline)

    def head_contents(self) -> dict[str, Any]:
        return {"labels": self.labels, "head": self._head_settings()}

    def _head_settings(self) -> dict:
        return {"multi_label": self.multi_label, "threshold": self.threshold, "head_dropout": self.network.head_dropout}

    def task_settings(self) -> dict:
        return {**super().task_settings(), "text_pairs": self.text_pairs}

    def get_config(self) -> dict:
        return {**super().get_config(), "labels": list(self.labels), **self._head_settings()}


def _class_names(preset: Preset, labels: Sequence[str] | None, num_classes: int | None) -> tuple[str, ...] | None:
    """The names that `from_preset` means; None where neither the caller nor the preset knows any."""
    names = None if labels is None else label_names(labels)
    if num_classes is None:
        return preset.labels if names is None else names
    check_whole("num_classes", num_classes, 2)
    if names is None:
        known = preset.labels is not None and len(preset.labels) == num_classes
        return preset.labels if known else label_names(range(num_classes))
    if len(names) != num_classes:
        raise TransformerError(f"num_classes must be {len(names)}, as many as labels, or left out; got {num_classes}")
    return names
