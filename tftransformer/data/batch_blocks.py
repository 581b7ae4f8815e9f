"""From planned batches of flat examples to a `tf.data.Dataset`, some dozens of batches at a time.

Handing an element from Python to `tf.data` costs half a millisecond whatever its size, ten times what it takes
to fill a batch. So Python hands over the flat rows of many batches, and TensorFlow's own threads pad them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.data.autotuning import BATCHES_AHEAD, without_autotune
from tftransformer.data.dataset_functions import DatasetFunction
from tftransformer.data.examples import Examples

if TYPE_CHECKING:
    import tensorflow as tf

BLOCK_BATCHES = 32
Plan = list[tuple[np.ndarray, int]]


def planned_dataset(
    plan: Callable[[], Plan], examples: Examples, count: int, rows: int | None
) -> tf.data.Dataset:
    """Batches in the order of a plan that is made anew in each epoch.

    Args:
        plan: Rows and padded length of each batch of the epoch that begins.
        examples: What the rows are of.
        count: Batches of every epoch.
        rows: Rows of every batch, None if not all are equal.

    Returns:
        A prefetched dataset of what `Examples.batch` gives, of cardinality `count`.
    """
    return parts_dataset(lambda: iter([(examples, plan())]), examples, count, rows)


def parts_dataset(
    parts: Callable[[], Iterator[tuple[Examples, Plan]]], like: Examples, count: int, rows: int | None
) -> tf.data.Dataset:
    """Batches of examples that are made part by part in each epoch.

    Args:
        parts: Some examples of the epoch that begins and the plan of their batches, until there are no more.
        like: Examples with the same kinds of labels and weights.
        count: Batches of every epoch.
        rows: Rows of every batch, None if not all are equal.

    Returns:
        As `planned_dataset`.
    """
    import tensorflow as tf

    def blocks() -> Iterator:
        for examples, batches in parts():
            for start in range(0, len(batches), BLOCK_BATCHES):
                yield _block(examples, batches[start : start + BLOCK_BATCHES])

    numbers = tf.TensorSpec([None], tf.int32)
    signature: Any = {name: numbers for name in ("token_ids", "lengths", "boundaries", "rows", "padded")}
    for name in ("labels", "weights"):
        values = getattr(like, name)
        if values is not None:
            signature[name] = tf.TensorSpec([None, *values.shape[1:]], tf.as_dtype(values.dtype))
    source = DatasetFunction(blocks)
    dataset = tf.data.Dataset.from_generator(source, output_signature=signature)
    dataset = source.until_end_of(dataset)
    # Autograph has nothing to convert here, and looking for it takes longer than tracing.
    cut = tf.autograph.experimental.do_not_convert(lambda block: _batches(block, rows, like.pad_id))
    dataset = dataset.flat_map(cut)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return without_autotune(dataset.prefetch(BATCHES_AHEAD))


def _block(examples: Examples, batches: Plan) -> dict[str, np.ndarray]:
    """Flat rows of some batches, how many rows each has, and how long they are padded."""
    part = examples.take(np.concatenate([rows for rows, _ in batches]))
    block = {
        "token_ids": part.token_ids,
        "lengths": part.lengths.astype("int32"),
        "boundaries": part.boundaries,
        "rows": np.array([len(rows) for rows, _ in batches], "int32"),
        "padded": np.array([length for _, length in batches], "int32"),
        "labels": part.labels,
        "weights": part.weights,
    }
    return {name: value for name, value in block.items() if value is not None}


def _batches(block: dict[str, tf.Tensor], rows: int | None, pad_id: int) -> tf.data.Dataset:
    """The batches of a block, padded: what `Examples.batch` gives."""
    import tensorflow as tf

    ends = tf.cumsum(block["rows"])
    token_ends = tf.concat([[0], tf.cumsum(block["lengths"])], 0)

    def batch(first: tf.Tensor, end: tf.Tensor, length: tf.Tensor) -> Any:
        lengths = block["lengths"][first:end]
        ids = block["token_ids"][token_ends[first] : token_ends[end]]
        ids = tf.RaggedTensor.from_row_lengths(ids, lengths, validate=False)
        mask = tf.sequence_mask(lengths, length, tf.int32)
        features = {
            "token_ids": ids.to_tensor(pad_id, shape=tf.stack([-1, length])),
            "segment_ids": mask - mask * tf.sequence_mask(block["boundaries"][first:end], length, tf.int32),
            "padding_mask": mask,
        }
        x = {name: tf.ensure_shape(value, [rows, None]) for name, value in features.items()}
        rest = [block[name][first:end] for name in ("labels", "weights") if name in block]
        rest = [tf.ensure_shape(value, [rows, *value.shape[1:]]) for value in rest]
        return (x, *rest) if rest else x

    places = tf.data.Dataset.from_tensor_slices((ends - block["rows"], ends, block["padded"]))
    return places.map(tf.autograph.experimental.do_not_convert(batch))
