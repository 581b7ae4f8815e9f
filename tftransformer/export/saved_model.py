"""The format `tf_saved_model`: a TensorFlow SavedModel for TF Serving, strings in, labels and probabilities out.

A signature `serving_default` takes `text`, (B,) strings, and for a task of pairs also `text_pair`. A classifier's returns
`probabilities` (B, C) float32, `label_id` (B,) int32 and `label` (B,) string; that of a multi-label classifier has in
`label_id` (B, C) int32 a 1 at the labels over the threshold, and in `label` their names joined by "|". Texts are tokenised,
truncated and padded to the longest of the batch inside the graph; documents are cut into chunks there, of which only
those that are there are computed. The signature `labels` takes nothing and returns the names of the C classes, `labels`
(C,) string; they are in `assets.extra/labels.json`, too.

A tagger returns, for the words of each text, `tag` (B, W) string, `start` and `end` (B, W) int32, in characters, `probability` (B, W) and
`probabilities` (B, W, C) float32; behind the last word of a text "", -1 and 0. Words are found and windows cut inside the graph.

A model that writes texts returns `text` (B,) string and `score` (B,) float32, and has no labels.

Several tasks on one encoder have a signature each, of the task's name, and the encoder stands in the file once. The names
of their labels are by task, in the signature `labels` and in the file.

The graph uses core TensorFlow and tensorflow-text's `FastWordpieceTokenizeWithOffsets`, which TF Serving carries, and no
function that must be compiled by XLA, which TF Serving switches off on CPUs. In Python, `import tensorflow_text` before
loading it: plain TensorFlow does not know that operation.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tftransformer import files
from tftransformer.errors import TransformerError
from tftransformer.export.comparison import compare_export
from tftransformer.export.serving import Serving, Signature

# The signature that returns the labels' names, and the folder for files that servers pass over.
LABELS, EXTRA = "labels", "assets.extra"


def write(serving: Serving, folder: str | os.PathLike, *, tolerance: float, overwrite: bool = False) -> Path:
    """Write what a task serves as a SavedModel that was compared with the task; it appears whole or not at all.

    Args:
        serving: Result of `task.serving()`.
        folder: Folder to write to.
        tolerance: Largest difference between its answers and those of the task's layers.
        overwrite: Whether to replace a folder that holds files.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the disk refuses, a task is called `labels`, or the graph does not
            answer as the task does.

    Example:
        >>> write(classifier.serving(), "serving/tickets/1", tolerance=1e-4).name
        '1'
    """
    if LABELS in serving.signatures:
        raise TransformerError(
            f"a task that is exported must have another name than {LABELS!r}, the signature of the labels' names"
        )
    functions = {name: _function(signature) for name, signature in serving.signatures.items()}
    module = tf.Module()
    # A SavedModel holds what its root refers to: the weights that are not constants of the graph.
    module.weights = [variable for function in functions.values() for variable in function.variables]
    target = Path(folder)
    with files.atomic_folder(target, overwrite=overwrite) as new:
        try:
            names = {} if serving.labels is None else {LABELS: _names(serving.labels)}
            tf.saved_model.save(module, str(new), signatures={**functions, **names})
        except tf.errors.OpError as error:
            raise TransformerError(f"the SavedModel cannot be written to {target}: {error.message}") from None
        if serving.labels is not None:
            (new / EXTRA).mkdir()
            files.write_json(new / EXTRA / "labels.json", serving.labels)
        compare_export(tf.saved_model.load(os.fspath(new)).signatures, serving.signatures, tolerance)
    return target


def _function(signature: Signature) -> Any:
    """A concrete function whose arguments have the names of the inputs."""

    def serve(**texts: tf.Tensor) -> dict[str, tf.Tensor]:
        return signature(*(texts[name] for name in signature.inputs))

    inputs = dict.fromkeys(signature.inputs, tf.TensorSpec([None], tf.string))
    return tf.function(serve, autograph=False).get_concrete_function(**inputs)


def _names(labels: Sequence[str] | Mapping[str, Sequence[str]]) -> Any:
    """A concrete function without inputs that returns the labels' names, for several tasks by task."""
    by_output = labels if isinstance(labels, Mapping) else {LABELS: labels}

    def names() -> dict[str, tf.Tensor]:
        return {output: tf.constant(list(own), tf.string) for output, own in by_output.items()}

    return tf.function(names, autograph=False).get_concrete_function()
