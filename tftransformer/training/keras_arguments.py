"""Small steps of `fit` between examples and Keras: its arguments, and the number of the epoch."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import Epoch
from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.schedule_length import show_average, start_epoch


class EpochNumber(keras.callbacks.Callback):
    """Tells the batches which epoch it is, so that their order depends on nothing else, and the optimizer."""

    def __init__(self, epoch: Epoch) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch.number = epoch
        start_epoch(self.model.optimizer)

    # It stands before all other callbacks: what they validate, compare or write is the average, where there is one.

    def on_test_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)


def split_end(examples: Examples, fraction: float) -> tuple[Examples, Examples | None]:
    """Examples without their last fraction, and that fraction, Keras's `validation_split`; None for a fraction of 0."""
    if not fraction:
        return examples, None
    if not 0 < fraction < 1:
        raise TransformerError(f"validation_split must be at least 0 and below 1; got {fraction}")
    kept = len(examples) - int(len(examples) * fraction)
    if kept < 1 or kept == len(examples):
        raise TransformerError(f"validation_split={fraction} of {len(examples)} examples leaves one side empty")
    return examples.take(range(kept)), examples.take(range(kept, len(examples)))


def first_batches(examples: Examples, argument: str, steps: int | None, batch_size: int) -> Examples:
    """The examples of the first batches, of each task where there are several; all for None.

    Args:
        examples: To choose from.
        argument: Keras's name of the number of batches: "steps" or "validation_steps".
        steps: The number.
        batch_size: Rows a batch.

    Raises:
        TransformerError: `steps` is no whole number of at least 1.
    """
    if steps is None:
        return examples
    check_whole(argument, steps)
    return examples.first(int(steps) * batch_size)


def checked_batch_size(given: Any, default: int) -> int:
    """The batch size to take; the default for None.

    Raises:
        TransformerError: It is no whole number of at least 1.
    """
    if given is None:
        return default
    check_whole("batch_size", given)
    return given


def as_list(callbacks: Any) -> list:
    """Callbacks in any form that Keras takes, as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def weighted(dataset: tf.data.Dataset, weights: tf.Tensor | None) -> tf.data.Dataset:
    """The dataset with the weight of its class multiplied into each example's."""
    if weights is None:
        return dataset

    def weigh(x: Any, y: tf.Tensor, weight: tf.Tensor | None = None) -> tuple:
        own = tf.gather(weights, y)
        return x, y, own if weight is None else own * tf.cast(weight, own.dtype)

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)
