"""Export to a TensorFlow SavedModel for TF Serving: strings in, labels and probabilities out."""

import os
from pathlib import Path
from typing import Any

import tensorflow as tf

from tftransformer import files
from tftransformer.errors import TransformerError


def export_classifier(classifier: Any, folder: str | os.PathLike, *, overwrite: bool = False) -> Path:
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

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, or the disk refuses.

    Example:
        >>> export_classifier(classifier, "serving/tickets/1")  # doctest: +SKIP
        >>> served = tf.saved_model.load("serving/tickets/1").signatures["serving_default"]  # doctest: +SKIP
        >>> served(text=tf.constant(["no refund"]))["label"]  # doctest: +SKIP
    """
    module = tf.Module()
    # The graph reads these; a SavedModel holds what its root refers to.
    module.weights = [variable.value for variable in classifier.weights]
    strings = tf.TensorSpec([None], tf.string)
    label_names = tf.constant(list(classifier.labels), tf.string)

    def classify(text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        sides = [classifier.tokenizer.tokenize(side) for side in (text, text_pair) if side is not None]
        probabilities = classifier.activate(classifier(classifier.pack(*sides), training=False))
        if classifier.multi_label:
            chosen = probabilities >= classifier.threshold
            names = tf.ragged.boolean_mask(tf.broadcast_to(label_names, tf.shape(chosen)), chosen)
            label_id, label = tf.cast(chosen, tf.int32), tf.strings.reduce_join(names, axis=1, separator="|")
        else:
            label_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
            label = tf.gather(label_names, label_id)
        return {"probabilities": tf.cast(probabilities, tf.float32), "label_id": label_id, "label": label}

    specs = {"text": strings, "text_pair": strings} if classifier.text_pairs else {"text": strings}
    served = tf.function(classify, autograph=False).get_concrete_function(**specs)
    target = Path(folder)
    try:
        with files.atomic_folder(target, overwrite=overwrite) as new:
            tf.saved_model.save(module, str(new), signatures={"serving_default": served})
    except tf.errors.OpError as error:
        raise TransformerError(f"the SavedModel cannot be written to {target}: {error.message}") from None
    return target
