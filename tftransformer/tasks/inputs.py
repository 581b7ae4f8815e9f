"""What `fit` may be given: telling the forms apart, and the small print of Keras's arguments."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.data.pipeline import Epoch
from tftransformer.errors import TransformerError
from tftransformer.finetuning.frozen_prefix import POOLED

# One of these stands in everything that a task feeds to its network.
_MODEL_INPUTS = {"padding_mask", POOLED}


class EpochNumber(keras.callbacks.Callback):
    """Tells the batches which epoch it is, so that their order depends on nothing else."""

    def __init__(self, epoch: Epoch) -> None:
        super().__init__()
        self._epoch = epoch

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        self._epoch.number = epoch


def is_dataset(x: Any) -> bool:
    """Whether x is a dataset of TensorFlow's, distributed or not."""
    return isinstance(x, (tf.data.Dataset, tf.distribute.DistributedDataset))


def is_tokenized(x: Any) -> bool:
    """Whether x is a dataset of a model's inputs already, as Keras hands back to `evaluate` inside `fit`."""
    if not is_dataset(x):
        return False
    spec = x.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, dict) and not _MODEL_INPUTS.isdisjoint(first)


def dataset_has_pairs(dataset: tf.data.Dataset) -> bool:
    """Whether a dataset of raw texts yields pairs of them."""
    spec = dataset.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, (tuple, list)) or isinstance(first, dict) and "text_pair" in first


def known_cardinality(dataset: tf.data.Dataset) -> int | None:
    """Batches in a dataset; None where it has no end."""
    count = int(dataset.cardinality())
    if count >= 0:
        return count
    # Unknown (-2) though finite: counted in one pass. Without end (-1) only the caller can say.
    return int(dataset.reduce(0, lambda n, _: n + 1)) if count == -2 else None


def split_end(examples: Examples, share: float) -> tuple[Examples, Examples | None]:
    """Examples without and of their last share, Keras's `validation_split`; None for a share of 0."""
    if not share:
        return examples, None
    if not 0 < share < 1:
        raise TransformerError(f"validation_split must be at least 0 and below 1; got {share}")
    kept = len(examples) - int(len(examples) * share)
    if kept < 1 or kept == len(examples):
        raise TransformerError(f"validation_split={share} of {len(examples)} examples leaves one side empty")
    return examples.take(range(kept)), examples.take(range(kept, len(examples)))


def as_list(callbacks: Any) -> list:
    """Callbacks in any form that Keras takes, as a list."""
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, (list, tuple)) else [callbacks]


def only_without(**arguments: Any) -> None:
    """Raise unless all these arguments of `fit` were left out."""
    for name, value in arguments.items():
        if value is not None and not (isinstance(value, float) and value == 0.0):
            raise TransformerError(
                f"{name} does not go with this kind of data: put it into the data themselves"
            )


def weighted(dataset: tf.data.Dataset, weights: tf.Tensor | None) -> tf.data.Dataset:
    """The dataset with the weight of its class multiplied into each example's."""
    if weights is None:
        return dataset

    def weigh(x: Any, y: tf.Tensor, weight: tf.Tensor | None = None) -> tuple:
        own = tf.gather(weights, y)
        return x, y, own if weight is None else own * tf.cast(weight, own.dtype)

    return dataset.map(weigh, num_parallel_calls=tf.data.AUTOTUNE)
