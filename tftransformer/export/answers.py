"""What a served classifier answers, and how a SavedModel is written."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tftransformer import files
from tftransformer.errors import TransformerError


def answers(labelled: Any, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
    """The outputs of a signature.

    Args:
        labelled: Has `labels`, `multi_label` and `threshold`.
        probabilities: (B, C).

    Returns:
        `probabilities` (B, C) float32, `label_id` (B,) int32 and `label` (B,) string; for several labels a text
        `label_id` (B, C) int32 holds 1 at those over the threshold, and `label` their names joined by "|".
    """
    names = tf.constant(list(labelled.labels), tf.string)
    if labelled.multi_label:
        chosen = probabilities >= labelled.threshold
        several = tf.ragged.boolean_mask(tf.broadcast_to(names, tf.shape(chosen)), chosen)
        label_id, label = tf.cast(chosen, tf.int32), tf.strings.reduce_join(several, axis=1, separator="|")
    else:
        label_id = tf.argmax(probabilities, axis=-1, output_type=tf.int32)
        label = tf.gather(names, label_id)
    return {"probabilities": tf.cast(probabilities, tf.float32), "label_id": label_id, "label": label}


def write_saved_model(
    folder: str | os.PathLike,
    signatures: Mapping[str, Any],
    *,
    variables: Iterable[tf.Variable] = (),
    overwrite: bool = False,
) -> Path:
    """Write concrete functions as the signatures of a SavedModel; it appears whole or not at all.

    Args:
        folder: Where to.
        signatures: Concrete functions by name.
        variables: Those that the functions reach through others.
        overwrite: Replace a folder that holds files.

    Raises:
        TransformerError: The folder holds files, or the disk refuses.
    """
    module = tf.Module()
    # A SavedModel holds what its root refers to: the weights that are not constants of the graph.
    module.weights = [*variables, *(v for served in signatures.values() for v in served.variables)]
    target = Path(folder)
    try:
        with files.atomic_folder(target, overwrite=overwrite) as new:
            tf.saved_model.save(module, str(new), signatures=dict(signatures))
    except tf.errors.OpError as error:
        raise TransformerError(f"the SavedModel cannot be written to {target}: {error.message}") from None
    return target
