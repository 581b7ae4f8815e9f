"""Adam on a large embedding table, at the price of the rows that training has reached so far.

A fine-tuning run reads a few thousand of thirty thousand rows. A row that no gradient has reached has moments of zero, and
Adam moves it by exactly nothing; only its weight decay is left. So the moments of all other rows need not be read
or written, and the result is the dense one. (Updating the rows of the current batch alone, as "lazy" Adam does,
is another algorithm: the moments of the others go on moving their weights.)
"""

from typing import Any

import tensorflow as tf

# Below this many rows a table's dense update costs next to nothing.
LARGE_TABLE = 4096
# From this share of touched rows on, gathering and scattering costs what the dense update does.
_DENSE_SHARE = 3


def unique_rows(grad: tf.IndexedSlices) -> tf.IndexedSlices:
    """The same gradient with each row once: the sum of its parts."""
    rows, place = tf.unique(grad.indices)
    values = tf.math.unsorted_segment_sum(grad.values, place, tf.size(rows))
    return tf.IndexedSlices(values, rows, grad.dense_shape)


def apply_adam(
    variable: Any,
    grad: tf.IndexedSlices,
    touched: Any,
    keep: tf.Tensor | None,
    moments: tuple[Any, Any],
    numbers: tuple[Any, float, float, float],
    dense: Any,
) -> None:
    """One AdamW step on a (V, D) table.

    Args:
        variable: The table.
        grad: Its gradient, each row at most once.
        touched: Boolean (V,) variable: which rows have had a gradient; brought up to date here.
        keep: What the decay multiplies every row by, or None.
        moments: The (V, D) variables of the first and the second moment.
        numbers: The rate, corrected for the bias of both moments, epsilon, beta_1 and beta_2.
        dense: `dense(grad)` makes the same step from the (V, D) gradient, for when most rows are touched.
    """
    touched.scatter_update(tf.IndexedSlices(tf.ones_like(grad.indices, tf.bool), grad.indices))
    flags = tf.convert_to_tensor(touched)
    count = variable.shape[0]
    rows = tf.where(flags)[:, 0]

    def step() -> tf.Tensor:
        _step_on_rows(variable, grad, rows, flags, keep, moments, numbers)
        return tf.constant(0)

    def step_on_all() -> tf.Tensor:
        dense(tf.convert_to_tensor(grad))
        return tf.constant(0)

    tf.cond(tf.size(rows) * _DENSE_SHARE < count, step, step_on_all)


def _step_on_rows(
    variable: Any,
    grad: tf.IndexedSlices,
    rows: tf.Tensor,
    flags: tf.Tensor,
    keep: tf.Tensor | None,
    moments: tuple[Any, Any],
    numbers: tuple,
) -> None:
    # 1 - beta in float32, as TensorFlow's own kernel has it: for .999 that is 5e-5 off the exact number, and the
    # bias correction is off alike.
    rate, epsilon, beta_1, beta_2 = (tf.cast(number, grad.dtype) for number in numbers)
    if keep is not None:
        variable.assign(variable * keep)
    place = tf.gather(tf.cumsum(tf.cast(flags, tf.int32)) - 1, grad.indices)
    g = tf.math.unsorted_segment_sum(grad.values, place, tf.size(rows))
    momentum, velocity = (tf.gather(moment, rows) for moment in moments)
    momentum += (g - momentum) * (1.0 - beta_1)
    velocity += (g * g - velocity) * (1.0 - beta_2)
    weights = tf.gather(variable, rows) - rate * momentum / (tf.sqrt(velocity) + epsilon)
    for target, values in zip((variable, *moments), (weights, momentum, velocity)):
        target.scatter_update(tf.IndexedSlices(values, rows))
