"""From the borders of rows to the row of each value, faster than `tf.repeat` where one row is long."""

import tensorflow as tf


def row_numbers(row_splits: tf.Tensor) -> tf.Tensor:
    """The row that each value belongs to.

    Args:
        row_splits: int64 (B + 1,), the place of each row's first value, and the number of values.

    Returns:
        int64 (C,).

    Example:
        >>> row_numbers(tf.constant([0, 2, 2, 3], tf.int64)).numpy().tolist()
        [0, 0, 2]
    """
    borders = row_splits[1:, tf.newaxis]
    return tf.cumsum(tf.scatter_nd(borders, tf.ones_like(row_splits[1:]), row_splits[-1:] + 1))[:-1]
