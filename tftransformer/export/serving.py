"""What a task says of how it is served, and its way into a folder of any format."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tftransformer.errors import TransformerError, near_miss
from tftransformer.export.comparison import tolerance_of
from tftransformer.models.task import Task
from tftransformer.patterns import copy_weights

# The module of each format, whose `write` takes a `Serving`, a folder, `tolerance` and `overwrite`.
FORMATS = {"tf_saved_model": "saved_model"}
# The name a caller gives, and the Keras policy of the network that is exported.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a task answers under one name, in the parts that it is made of; all are TensorFlow operations.

    Args:
        inputs: The names of its inputs, each (B,) strings.
        sequence_length: Tokens of a text at most; a longer one is cut.
        prepare: From one tensor for each input to the network's integers by name.
        network: From these to the network's output (B, …), in the form that a server runs fastest.
        layers: The same by the task's own layers, with which every export is compared.
        answers: From that output to the outputs of the signature by name, each (B, …).
        compared: Which of these is compared.
        shape: Of that one, for one text.
    """

    inputs: tuple[str, ...]
    sequence_length: int
    prepare: Callable[..., dict[str, tf.Tensor]]
    network: Callable[[dict[str, tf.Tensor]], tf.Tensor]
    layers: Callable[[dict[str, tf.Tensor]], tf.Tensor]
    answers: Callable[[tf.Tensor], dict[str, tf.Tensor]]
    compared: str
    shape: tuple[int, ...]

    def __call__(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        """The outputs by name, of one (B,) tensor of strings for each input."""
        return self.answers(self.network(self.prepare(*texts)))

    def expected(self, *texts: tf.Tensor) -> tf.Tensor:
        """The output that is compared, by the task's own layers."""
        return self.answers(self.layers(self.prepare(*texts)))[self.compared]


@dataclasses.dataclass(frozen=True)
class Serving:
    """All that a format has to know of a task.

    Args:
        signatures: By name.
        labels: The names of the classes in the order of the probabilities; by signature where there are several.
    """

    signatures: Mapping[str, Signature]
    labels: Sequence[str] | Mapping[str, Sequence[str]]


def export(
    task: Task,
    folder: str | os.PathLike,
    format: str = "tf_saved_model",
    *,
    overwrite: bool = False,
    dtype: str | None = None,
) -> Path:
    """Write a task with its tokenizer for servers; `task.export(folder)` does it.

    Before it gets its name what was written is loaded and compared with the task, on texts of several lengths and on
    none: probabilities have to agree to within 1e-4 in float32 (`export.comparison.TOLERANCES`).

    Args:
        task: What is served; it says so itself, by `serving`.
        folder: Where to; TF Serving wants a number as its last part, such as "serving/tickets/1". It
            appears whole or not at all.
        format: "tf_saved_model": strings in, labels and probabilities out; see `export.saved_model`.
        overwrite: Replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision, which processors that know it run
            faster; probabilities then agree to two or three digits. Inputs, outputs, norms and softmax stay float32. None: the task's own precision.

    Returns:
        The folder.

    Raises:
        TransformerError: The format or the dtype is unknown, the folder holds files, the disk refuses, or what was
            written does not answer as the task does; nothing is left behind then.

    Example:
        >>> folder = export(classifier, "serving/tickets/1")
        >>> import tensorflow_text
        >>> served = tf.saved_model.load(folder).signatures["serving_default"]
        >>> served(text=tf.constant(["no refund"]))["probabilities"].shape
        TensorShape([1, 2])
    """
    if format not in FORMATS:
        raise TransformerError(
            f"format must be one of {', '.join(FORMATS)}; got {format!r}{near_miss(format, FORMATS)}"
        )
    computed = task if dtype is None else in_precision(task, dtype)
    return importlib.import_module(f"tftransformer.export.{FORMATS[format]}").write(
        task.serving(computed),
        folder,
        tolerance=tolerance_of(task.compute_dtype, computed.compute_dtype),
        overwrite=overwrite,
    )


def in_precision(task: Task, dtype: str) -> Task:
    """The task, or a copy that computes in another precision: "float32" or "bfloat16"."""
    if dtype not in _POLICIES:
        raise TransformerError(
            f"dtype must be one of {', '.join(_POLICIES)}; got {dtype!r}{near_miss(str(dtype), _POLICIES)}"
        )
    policy = keras.DTypePolicy(_POLICIES[dtype])
    if task.dtype_policy.name == policy.name:
        return task
    config = {**task.get_config(), "dtype": keras.saving.serialize_keras_object(policy)}
    copy = type(task).from_config(config)
    copy_weights(task, copy)
    return copy
