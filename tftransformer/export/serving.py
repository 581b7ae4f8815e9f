"""The description of how a task is served, and its export in any format."""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tftransformer.errors import check_choice
from tftransformer.models.task import Task
from tftransformer.patterns import copy_weights

# The module of each format, whose `write` takes a `Serving`, a folder, `tolerance` and `overwrite`.
FORMATS = {"tf_saved_model": "saved_model"}
# The name a caller gives, and the Keras policy of the network that is exported.
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}

# How far probabilities may be apart. In float32 the same sums in another order, through 24 layers, stay below 1e-5. Half
# precision rounds every activation, to 8 bits (bfloat16) or 11 (float16), and the graph rounds at other places than the
# layers: for a text between two classes that is some hundredths. Weights in the wrong place are off by far more.
TOLERANCES = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 1e-1}


@dataclasses.dataclass(frozen=True)
class Signature:
    """A signature of a task: its answer under one name, in parts, all of TensorFlow operations.

    Args:
        inputs: Names of its inputs, each (B,) strings.
        sequence_length: Largest number of tokens of a text; a longer one is cut.
        prepare: Function from one tensor for each input to the network's integers by name.
        network: Function from these to the network's output (B, …), in the form that a server runs fastest.
        layers: The same function by the task's own layers, with which every export is compared.
        answers: Function from that output to the outputs of the signature by name, each (B, …).
        compared: Name of the output that is compared.
        shape: Shape of that output for one text.
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
        signatures: Signatures by name.
        labels: Names of the classes in the order of the probabilities; by signature where there are several. None: what
            it answers is no class.
    """

    signatures: Mapping[str, Signature]
    labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None


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
    none: probabilities have to agree to within 1e-4 in float32 (`TOLERANCES`).

    Args:
        task: Task to export, by its method `serving`.
        folder: Folder to write to; TF Serving wants a number as its last part, such as "serving/tickets/1". It
            appears whole or not at all.
        format: "tf_saved_model": strings in, labels and probabilities out; see `export.saved_model`.
        overwrite: Whether to replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision, which processors that know it run faster;
            probabilities then agree to two or three digits. Inputs, outputs, norms and softmax stay float32. None: the
            task's own precision.

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
    check_choice("format", format, FORMATS)
    computed = task if dtype is None else in_precision(task, dtype)
    return importlib.import_module(f"tftransformer.export.{FORMATS[format]}").write(
        task.serving(computed),
        folder,
        tolerance=tolerance_of(task.compute_dtype, computed.compute_dtype),
        overwrite=overwrite,
    )


def in_precision(task: Task, dtype: str) -> Task:
    """The task, or a copy that computes in another precision: "float32" or "bfloat16"."""
    check_choice("dtype", dtype, _POLICIES)
    policy = keras.DTypePolicy(_POLICIES[dtype])
    if task.dtype_policy.name == policy.name:
        return task
    config = {**task.get_config(), "dtype": keras.saving.serialize_keras_object(policy)}
    copy = type(task).from_config(config)
    copy_weights(task, copy)
    return copy


def tolerance_of(*dtypes: str) -> float:
    """Return the largest difference allowed between answers computed in these dtypes.

    Example:
        >>> tolerance_of("float32", "float32")
        0.0001
    """
    return max(TOLERANCES.get(dtype, TOLERANCES["float32"]) for dtype in dtypes)
