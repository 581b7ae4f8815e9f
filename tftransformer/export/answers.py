"""What a served classifier answers, and how a SavedModel is written."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.export.comparison import Served, compare_export

# The signature that returns the labels' names, and the folder for files that servers pass over.
LABELS, EXTRA = "labels", "assets.extra"


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
    signatures: Mapping[str, Served],
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    tolerance: float,
    variables: Iterable[tf.Variable] = (),
    overwrite: bool = False,
) -> Path:
    """Write signatures as a SavedModel that was compared with the model; it appears whole or not at all.

    The names of the labels stand beside it, in `assets.extra/labels.json`, and are what the signature `labels` returns.

    Args:
        folder: Where to.
        signatures: By name.
        labels: Names in the order of the probabilities; by task where there are several.
        tolerance: How far probabilities may be from the model's.
        variables: Those that the functions reach through others.
        overwrite: Replace a folder that holds files.

    Raises:
        TransformerError: The folder holds files, the disk refuses, or the graph does not answer as the model does.
    """
    functions = {name: served.function for name, served in signatures.items()}
    module = tf.Module()
    # A SavedModel holds what its root refers to: the weights that are not constants of the graph.
    module.weights = [*variables, *(v for function in functions.values() for v in function.variables)]
    target = Path(folder)
    with files.atomic_folder(target, overwrite=overwrite) as new:
        try:
            tf.saved_model.save(module, str(new), signatures={**functions, LABELS: _names(labels)})
        except tf.errors.OpError as error:
            raise TransformerError(f"the SavedModel cannot be written to {target}: {error.message}") from None
        (new / EXTRA).mkdir()
        files.write_json(new / EXTRA / "labels.json", labels)
        compare_export(new, signatures, tolerance)
    return target


def _names(labels: Sequence[str] | Mapping[str, Sequence[str]]) -> Any:
    """A concrete function without inputs that returns the names, for several tasks by task."""
    by_output = labels if isinstance(labels, Mapping) else {LABELS: labels}

    def names() -> dict[str, tf.Tensor]:
        return {output: tf.constant(list(own), tf.string) for output, own in by_output.items()}

    return tf.function(names, autograph=False).get_concrete_function()
