"""Checks of a `tf.data.Dataset`, or of other data, before it is known what its rows are."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.data.split import Split
from tftransformer.data.tagged import TaggedSplit
from tftransformer.errors import TransformerError
from tftransformer.finetuning.frozen_part import POOLED

# One of these stands in everything that a task feeds to its network.
_MODEL_INPUTS = {"padding_mask", POOLED}


def is_dataset(x: Any) -> bool:
    """Return whether x is a `tf.data.Dataset`."""
    return isinstance(x, tf.data.Dataset)


def is_tokenized(x: Any) -> bool:
    """Return whether x is a dataset of a model's inputs already, as Keras hands back to `evaluate` inside `fit`."""
    if not is_dataset(x):
        return False
    spec = x.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, dict) and not _MODEL_INPUTS.isdisjoint(first)


def dataset_has_pairs(dataset: tf.data.Dataset) -> bool:
    """Return whether a dataset of raw texts yields pairs of them."""
    spec = dataset.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    return isinstance(first, (tuple, list)) or isinstance(first, dict) and "text_pair" in first


def texts_alone(x: Any) -> Any:
    """Data without their labels, which `predict` does not need and which may be unknown ones."""
    if isinstance(x, Split):
        return replace(x, targets=None)
    if isinstance(x, TaggedSplit):
        return replace(x, tags=None)
    if isinstance(x, Examples):
        return replace(x, targets=None, weights=None)
    if is_dataset(x) and not is_tokenized(x) and isinstance(x.element_spec, tuple):
        return x.map(lambda text, *_: text)
    return x


def check_strings(rows: Iterable[Any], what: str, kinds: tuple[type, ...] = (str, bytes)) -> None:
    """Refuse rows that are no texts; `what` is each of them called."""
    for row, text in enumerate(rows):
        if not isinstance(text, kinds):
            raise TransformerError(f"{what} must be a text; got {type(text).__name__} in row {row} (from 0)")


def with_known_size(name: str, dataset: Any, steps: int | None = None) -> Any:
    """A dataset whose epochs have a known number of elements: if it is unknown, they are counted in one pass.

    Keras makes one step too many in each epoch of a dataset of unknown size (the end is found in the middle of a step,
    which the optimizer has counted by then), and a schedule has to know its length.

    Args:
        name: The user's name of it, for messages.
        dataset: Anything; other data than a `tf.data.Dataset`, and a dataset without an end, are returned as they are.
        steps: Batches to an epoch, if the user says so: each then begins where the last one ended, and nothing is counted.

    Raises:
        TransformerError: It is empty, or can be read only once.
    """
    if steps is not None or not isinstance(dataset, tf.data.Dataset):
        return dataset
    count = int(dataset.cardinality())
    if count == tf.data.UNKNOWN_CARDINALITY:
        count = int(dataset.reduce(np.int64(0), lambda number, _: number + 1))
        if count and not int(dataset.take(1).reduce(0, lambda number, _: number + 1)):
            raise TransformerError(
                f"{name} must begin anew in each epoch; its {count} elements can be read only once, and counting them "
                "has: give from_generator a function that makes a new generator, or call cache() on the dataset"
            )
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    if count == 0:
        raise TransformerError(f"{name} must have at least one batch; got a dataset without elements")
    return dataset


@contextlib.contextmanager
def same_size_in_each_epoch() -> Iterator[None]:
    """Say in one line that a dataset has not as many elements as `with_known_size` counted."""
    try:
        yield
    except tf.errors.FailedPreconditionError as error:
        if "was expected to contain" not in str(error):
            raise
        raise TransformerError(
            "a tf.data.Dataset must have the same number of elements in each epoch, where it does not say how many: "
            "give steps_per_epoch (or validation_steps) and a dataset that repeats"
        ) from None


def batches_an_epoch(dataset: Any) -> int | None:
    """Batches of an epoch; None where the data have no end."""
    count = int(dataset.cardinality())
    return count if count >= 0 else None


def reject_arguments(**arguments: Any) -> None:
    """Raise unless all these arguments of `fit` were left out."""
    for name, value in arguments.items():
        if value is not None and not (isinstance(value, float) and value == 0.0):
            raise TransformerError(f"{name} does not go with this kind of data: put it into the data themselves")
