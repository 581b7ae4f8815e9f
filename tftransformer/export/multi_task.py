"""Export of several tasks on one encoder to one TensorFlow SavedModel, with a signature for each task."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.export.answers import LABELS, answers, write_saved_model
from tftransformer.export.comparison import Served, tolerance_of
from tftransformer.export.inference_graph import inference_network
from tftransformer.export.saved_model import in_precision, served_texts

_INPUTS = ("token_ids", "padding_mask", "segment_ids")


def export_tasks(
    model: Any, folder: str | os.PathLike, *, overwrite: bool = False, dtype: str | None = None
) -> Path:
    """Write a multi-task classifier with its tokenizer as a SavedModel.

    Each task's signature has the task's name, takes `text`, (B,) strings, and for pairs also `text_pair`, and
    returns what that of a single classifier does (`export.export_classifier`). The encoder stands in the file once,
    as a function that all signatures call. The signature `labels` returns the names of each task's labels, under the
    task's name, and `assets.extra/labels.json` holds them. Each signature is compared with the model, as there.

    Args:
        model: A `MultiTaskClassifier`.
        folder: Where to; TF Serving wants a number as its last part. It appears whole or not at all.
        overwrite: Replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision. None: the model's own.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the dtype is unknown, the disk refuses, a task is called `labels`, or
            the graph does not answer as the model does; nothing is left behind then.

    Example:
        >>> tasks = {"mood": ["negative", "positive"], "topic": ["film", "music", "sports"]}
        >>> model = MultiTaskClassifier.from_preset(preset, tasks=tasks)
        >>> folder = export_tasks(model, "serving/texts/1")
        >>> import tensorflow_text
        >>> served = tf.saved_model.load(folder).signatures["topic"]
        >>> served(text=tf.constant(["a charming film"]))["probabilities"].shape
        TensorShape([1, 3])
    """
    if LABELS in model.tasks:
        raise TransformerError(
            f"a task that is exported must have another name than {LABELS!r}, the signature of the labels' names"
        )
    integers = tf.TensorSpec([None, None], tf.int32)
    copy = model if dtype is None else in_precision(model, dtype)
    network = _pooled_network(copy)
    pooled = tf.function(network, input_signature=[dict.fromkeys(_INPUTS, integers)], autograph=False)
    return write_saved_model(
        folder,
        {name: _served_task(model, copy, name, pooled) for name in model.tasks},
        {name: task.labels for name, task in model.tasks.items()},
        tolerance=tolerance_of(model.compute_dtype, copy.compute_dtype),
        variables=pooled.get_concrete_function().variables,
        overwrite=overwrite,
    )


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


def _served_task(model: Any, copy: Any, name: str, pooled: Any) -> Served:
    """The signature of a task, from the pooled vectors of a copy of the model."""
    task, head = model.tasks[name], copy.head.heads[list(copy.tasks).index(name)]

    def packed(*sides: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs = model.pack(*(model.tokenizer.tokenize(side) for side in sides))
        return {key: tf.cast(inputs[key], tf.int32) for key in _INPUTS}

    def classify(text: tf.Tensor, text_pair: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        sides = [side for side in (text, text_pair) if side is not None]
        return answers(task, task.activate(head(pooled(packed(*sides)))))

    def expected(*sides: tf.Tensor) -> tf.Tensor:
        columns = model.columns(name)
        return task.activate(model(packed(*sides), training=False)[:, columns.start : columns.stop])

    return served_texts(classify, expected, task, model.max_length)
