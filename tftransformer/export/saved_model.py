"""Export to a TensorFlow SavedModel for TF Serving: strings in, labels and probabilities out."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError, near_miss
from tftransformer.export.answers import answers, write_saved_model
from tftransformer.export.comparison import Served, tolerance_of
from tftransformer.export.inference_graph import inference_network
from tftransformer.patterns import copy_weights

# The name a caller gives, and the Keras policy of the network that is exported.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def export_classifier(
    classifier: Any, folder: str | os.PathLike, *, overwrite: bool = False, dtype: str | None = None
) -> Path:
    """Write a classifier with its tokenizer as a SavedModel.

    The signature `serving_default` takes `text`, (B,) strings, and for a classifier of pairs also `text_pair`.
    It returns `probabilities` (B, C) float32, `label_id` (B,) int32 and `label` (B,) string; for
    a multi-label classifier `label_id` (B, C) int32 holds 1 at the labels over the threshold, and `label` their
    names joined by "|". Texts are tokenised, truncated and padded to the longest of the batch inside the graph. The
    signature `labels` takes nothing and returns the names of the C classes, `labels` (C,) string; they are in
    `assets.extra/labels.json`, too.

    Before it gets its name the folder is loaded and compared with the classifier, on texts of several lengths and on
    none: probabilities have to agree to within 1e-4 in float32 (`export.comparison.TOLERANCES`).

    The graph uses core TensorFlow and tensorflow-text's `FastWordpieceTokenizeWithOffsets`, which TF Serving
    carries, and no function that must be compiled by XLA, which TF Serving switches off on CPUs. In Python,
    `import tensorflow_text` before loading it: plain TensorFlow does not know that operation.

    Args:
        classifier: A `TextClassifier`.
        folder: Where to; TF Serving wants a number as its last part, such as "serving/tickets/1". It
            appears whole or not at all.
        overwrite: Replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision, which processors that know it run
            faster; probabilities then agree to two or three digits. Inputs, outputs, norms and softmax stay float32. None: the classifier's own precision.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the dtype is unknown, the disk refuses, or the graph does not answer
            as the classifier does; nothing is left behind then.

    Example:
        >>> folder = export_classifier(classifier, "serving/tickets/1")
        >>> import tensorflow_text
        >>> served = tf.saved_model.load(folder).signatures["serving_default"]
        >>> served(text=tf.constant(["no refund"]))["probabilities"].shape
        TensorShape([1, 2])
    """
    copy = classifier if dtype is None else in_precision(classifier, dtype)
    network = inference_network(copy)

    def packed(*sides: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.pack(*(classifier.tokenizer.tokenize(side) for side in sides))

    def classify(text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        sides = [side for side in (text, text_pair) if side is not None]
        return answers(classifier, classifier.activate(network(packed(*sides))))

    def expected(*sides: tf.Tensor) -> tf.Tensor:
        return classifier.activate(classifier(packed(*sides), training=False))

    return write_saved_model(
        folder,
        {"serving_default": served_texts(classify, expected, classifier, classifier.max_length)},
        classifier.labels,
        tolerance=tolerance_of(classifier.compute_dtype, copy.compute_dtype),
        overwrite=overwrite,
    )


def served_texts(classify: Callable, expected: Callable, task: Any, max_length: int) -> Served:
    """The signature of a task's texts, or of pairs of them.

    Args:
        classify: From strings (B,), by the names `text` and `text_pair`, to answers.
        expected: As in `Served`.
        task: Has `labels` and `text_pairs`.
        max_length: As in `Served`.
    """
    pairs = bool(task.text_pairs)
    inputs = dict.fromkeys(("text", "text_pair") if pairs else ("text",), tf.TensorSpec([None], tf.string))
    function = tf.function(classify, autograph=False).get_concrete_function(**inputs)
    return Served(function, expected, len(task.labels), pairs, max_length)


def in_precision(classifier: Any, dtype: str) -> Any:
    """The task, or a copy that computes in another precision: "float32" or "bfloat16"."""
    if dtype not in _POLICIES:
        raise TransformerError(
            f"dtype must be one of {', '.join(_POLICIES)}; got {dtype!r}{near_miss(str(dtype), _POLICIES)}"
        )
    policy = keras.DTypePolicy(_POLICIES[dtype])
    if classifier.dtype_policy.name == policy.name:
        return classifier
    config = {**classifier.get_config(), "dtype": keras.saving.serialize_keras_object(policy)}
    copy = type(classifier).from_config(config)
    copy_weights(classifier, copy)
    return copy
