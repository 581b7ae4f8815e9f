"""From planned batches of examples to a `tf.data.Dataset`, some dozens of batches at a time.

Handing an element from Python to `tf.data` costs half a millisecond whatever its size, ten times what it takes
to fill a batch. So Python hands over many padded batches at a time, flat, and TensorFlow's own threads cut them apart.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.data.dataset_functions import BATCHES_AHEAD, DatasetFunction, without_autotune
from tftransformer.data.examples import Examples

if TYPE_CHECKING:
    import tensorflow as tf

BLOCK_BATCHES = 32
# The functions of a pipeline take a tenth of a second to trace and start, each batch beside the others 2 ms.
FEW_BATCHES = 16
Plan = list[tuple[np.ndarray, int]]


def planned_dataset(plan: Callable[[], Plan], examples: Examples, count: int, rows: int | None) -> tf.data.Dataset:
    """Batches in the order of a plan that is made anew in each epoch.

    Args:
        plan: Rows and padded length of each batch of the epoch that begins.
        examples: Examples that the rows belong to.
        count: Batches of every epoch.
        rows: Rows of every batch, None if not all are equal.

    Returns:
        A prefetched dataset of what `Examples.batch` gives, of cardinality `count`.
    """
    return parts_dataset(lambda: iter([(examples, plan())]), examples, count, rows)


def fixed_dataset(plan: Plan, examples: Examples, rows: int | None) -> tf.data.Dataset:
    """Batches that are the same in each epoch; few are made at once, so that a single text is answered soon.

    Args:
        plan: Rows and padded length of each batch.
        examples, rows: As in `planned_dataset`.

    Returns:
        As `planned_dataset`.
    """
    import tensorflow as tf

    if len(plan) > FEW_BATCHES:
        return planned_dataset(lambda: plan, examples, len(plan), rows)
    made = [tf.data.Dataset.from_tensors(examples.batch(*batch)) for batch in plan]
    variant = tf.data.experimental.to_variant(functools.reduce(tf.data.Dataset.concatenate, made))
    # With the shapes of any batch: those of the ones at hand would be traced for themselves.
    return without_autotune(tf.data.experimental.from_variant(variant, _batch_spec(examples, rows)))


def parts_dataset(
    parts: Callable[[], Iterator[tuple[Examples, Plan]]], like: Examples, count: int, rows: int | None
) -> tf.data.Dataset:
    """Batches of examples that are made part by part in each epoch.

    Args:
        parts: Some examples of the epoch that begins and the plan of their batches, until there are no more.
        like: Examples with the same fields, and weights or none.
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

    spec = _batch_spec(like, rows)
    flat = tf.nest.flatten(spec)
    signature = (
        tuple(tf.TensorSpec([None], leaf.dtype) for leaf in flat),
        tuple(tf.TensorSpec([None, leaf.shape.rank], tf.int64) for leaf in flat),
    )
    source = DatasetFunction(blocks)
    dataset = tf.data.Dataset.from_generator(source, output_signature=signature)
    dataset = source.until_end_of(dataset)
    # Autograph has nothing to convert here, and looking for it takes longer than tracing.
    cut = tf.autograph.experimental.do_not_convert(lambda values, shapes: _batches(values, shapes, spec))
    dataset = dataset.flat_map(cut)
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return without_autotune(dataset.prefetch(BATCHES_AHEAD))


def _batch_spec(like: Examples, rows: int | None) -> Any:
    """Of what `Examples.batch` gives, with batches and lengths of any size, or with `rows` rows."""
    import tensorflow as tf

    def tensor(leaf: tuple[tuple[int | None, ...], str]) -> tf.TensorSpec:
        shape, dtype = leaf
        return tf.TensorSpec([rows, *shape], tf.as_dtype(dtype))

    spec = like.spec()
    if isinstance(spec, dict):
        return {name: tensor(leaf) for name, leaf in spec.items()}
    return ({name: tensor(leaf) for name, leaf in spec[0].items()}, *map(tensor, spec[1:]))


def _block(examples: Examples, batches: Plan) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Some batches as one row of numbers for each of their arrays, and the shapes (batches, axes) to cut them by."""
    import tensorflow as tf

    arrays = list(zip(*(tf.nest.flatten(examples.batch(rows, length)) for rows, length in batches)))
    values = tuple(np.concatenate([array.ravel() for array in of_batches]) for of_batches in arrays)
    return values, tuple(np.array([array.shape for array in of_batches], "int64") for of_batches in arrays)


def _batches(values: Sequence[tf.Tensor], shapes: Sequence[tf.Tensor], spec: Any) -> tf.data.Dataset:
    """The batches of a block."""
    import tensorflow as tf

    ends = [tf.cumsum(tf.reduce_prod(shape, axis=1)) for shape in shapes]

    def batch(number: tf.Tensor) -> Any:
        arrays = []
        for value, shape, end, leaf in zip(values, shapes, ends, tf.nest.flatten(spec), strict=True):
            size = tf.reduce_prod(shape[number])
            array = tf.reshape(value[end[number] - size : end[number]], shape[number])
            arrays.append(tf.ensure_shape(array, leaf.shape))
        return tf.nest.pack_sequence_as(spec, arrays)

    numbers = tf.data.Dataset.range(tf.shape(shapes[0], tf.int64)[0])
    return numbers.map(tf.autograph.experimental.do_not_convert(batch))
