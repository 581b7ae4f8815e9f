"""Export of several tasks on one encoder to one TensorFlow SavedModel, with a signature for each task."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from tftransformer.export.answers import answers, write_saved_model
from tftransformer.export.inference_graph import inference_network

_INPUTS = ("token_ids", "padding_mask", "segment_ids")


def export_tasks(model: Any, folder: str | os.PathLike, *, overwrite: bool = False) -> Path:
    """Write a multi-task classifier with its tokenizer as a SavedModel.

    Each task's signature has the task's name, takes `text`, (B,) strings, and for pairs also `text_pair`, and
    returns what that of a single classifier does (`export.export_classifier`). The encoder stands in the file once,
    as a function that all signatures call.

    Args:
        model: A `MultiTaskClassifier`.
        folder: Where to; TF Serving wants a number as its last part. It appears whole or not at all.
        overwrite: Replace a folder that holds files.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, or the disk refuses.

    Example:
        >>> export_tasks(model, "serving/texts/1")  # doctest: +SKIP
        >>> served = tf.saved_model.load("serving/texts/1").signatures["sst2"]  # doctest: +SKIP
        >>> served(text=tf.constant(["a charming film"]))["label"]  # doctest: +SKIP
    """
    integers = tf.TensorSpec([None, None], tf.int32)
    network = _pooled_network(model)
    pooled = tf.function(network, input_signature=[dict.fromkeys(_INPUTS, integers)], autograph=False)
    signatures = {name: _serving_function(model, name, pooled) for name in model.tasks}
    variables = pooled.get_concrete_function().variables
    return write_saved_model(folder, signatures, variables=variables, overwrite=overwrite)


def _pooled_network(model: Any) -> Any:
    """Token ids to pooled vectors (B, D), float32."""
    trunk = SimpleNamespace(
        config=model.config,
        encoder=model.encoder,
        extra_blocks=model.extra_blocks,
        pooler=model.pooler,
        head=lambda pooled: pooled,
        text_pairs=any(task.text_pairs for task in model.tasks.values()),
    )
    return inference_network(trunk)


def _serving_function(model: Any, name: str, pooled: Any) -> Any:
    task, head = model.tasks[name], model.head.heads[list(model.tasks).index(name)]

    def classify(text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        sides = [model.tokenizer.tokenize(side) for side in (text, text_pair) if side is not None]
        packed = model.pack(*sides)
        packed = {key: tf.cast(packed[key], tf.int32) for key in _INPUTS}
        return answers(task, task.activate(head(pooled(packed))))

    strings = tf.TensorSpec([None], tf.string)
    specs = {"text": strings, "text_pair": strings} if task.text_pairs else {"text": strings}
    return tf.function(classify, autograph=False).get_concrete_function(**specs)
