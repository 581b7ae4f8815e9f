"""Which chunks of a batch of documents are there, and the vectors of those at their places."""

from collections.abc import Mapping

import tensorflow as tf


def real_chunks(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """(B, C), True at chunks that are there."""
    return tf.reduce_any(tf.cast(inputs["padding_mask"], tf.bool), axis=-1)


def in_places(vectors: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """(B, C, D) from the vectors (R, D) of the R chunks that are there, zeros at the others.

    Example:
        >>> in_places(tf.constant([[1.0], [2.0]]), tf.constant([[True, False], [False, True]])).numpy().tolist()
        [[[1.0], [0.0]], [[0.0], [2.0]]]
    """
    shape = tf.concat([tf.shape(real, tf.int64), [vectors.shape[-1]]], 0)
    return tf.scatter_nd(tf.where(real), vectors, shape)
