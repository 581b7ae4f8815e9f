"""Export to a TensorFlow SavedModel for TF Serving: strings in, labels and probabilities out."""

import os
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError, near_miss
from tftransformer.export.answers import answers, write_saved_model
from tftransformer.export.inference_graph import inference_network

# The name a caller gives, and the Keras policy of the network that is exported.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def export_classifier(
    classifier: Any, folder: str | os.PathLike, *, overwrite: bool = False, dtype: str | None = None
) -> Path:
    """Write a classifier with its tokenizer as a SavedModel.

    The signature `serving_default` takes `text`, (B,) strings, and for a classifier of pairs also `text_pair`.
    It returns `probabilities` (B, C) float32, `label_id` (B,) int32 and `label` (B,) string; for
    a multi-label classifier `label_id` (B, C) int32 holds 1 at the labels over the threshold, and `label` their
    names joined by "|". Texts are tokenised, truncated and padded to the longest of the batch inside the graph.

    The graph uses core TensorFlow and tensorflow-text's `FastWordpieceTokenizeWithOffsets`, which TF Serving
    carries, and no function that must be compiled by XLA, which TF Serving switches off on CPUs.

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
        TransformerError: The folder holds files, the dtype is unknown, or the disk refuses.

    Example:
        >>> export_classifier(classifier, "serving/tickets/1")  # doctest: +SKIP
        >>> served = tf.saved_model.load("serving/tickets/1").signatures["serving_default"]  # doctest: +SKIP
        >>> served(text=tf.constant(["no refund"]))["label"]  # doctest: +SKIP
    """
    if dtype is not None:
        classifier = in_precision(classifier, dtype)
    network = inference_network(classifier)
    strings = tf.TensorSpec([None], tf.string)

    def classify(text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        sides = [classifier.tokenizer.tokenize(side) for side in (text, text_pair) if side is not None]
        return answers(classifier, classifier.activate(network(classifier.pack(*sides))))

    specs = {"text": strings, "text_pair": strings} if classifier.text_pairs else {"text": strings}
    served = tf.function(classify, autograph=False).get_concrete_function(**specs)
    return write_saved_model(folder, {"serving_default": served}, overwrite=overwrite)


def in_precision(classifier: Any, dtype: str) -> Any:
    """The classifier, or a copy that computes in another precision: "float32" or "bfloat16"."""
    if dtype not in _POLICIES:
        raise TransformerError(
            f"dtype must be one of {', '.join(_POLICIES)}; got {dtype!r}{near_miss(str(dtype), _POLICIES)}"
        )
    policy = keras.DTypePolicy(_POLICIES[dtype])
    if classifier.dtype_policy.name == policy.name:
        return classifier
    config = {**classifier.get_config(), "dtype": keras.saving.serialize_keras_object(policy)}
    copy = type(classifier).from_config(config)
    copy.set_weights(classifier.get_weights())
    return copy
