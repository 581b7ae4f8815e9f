"""Parts of Keras's loops to train on several replicas whose batches are not of one size."""

from typing import Any

import tensorflow as tf


def weigh_replicas(loss: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """A replica's mean loss, whose gradient counts alike what is counted on all replicas.

    Keras gives each replica's mean the same weight in the gradient, whatever its number of rows: the rows of a last
    batch that does not divide would count unequally. The value stays the one that Keras reports.

    Args:
        loss: The replica's mean.
        count: Over how much it is the mean: rows, or the sum of their weights.

    Example:
        >>> float(weigh_replicas(tf.constant(2.0), 3))
        2.0
    """
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    if replicas == 1:
        return loss
    own = tf.cast(count, loss.dtype)
    fraction = tf.math.divide_no_nan(own * replicas, tf.distribute.get_replica_context().all_reduce("SUM", own))
    return tf.stop_gradient(loss) + fraction * (loss - tf.stop_gradient(loss))


def first_batch(strategy: tf.distribute.Strategy, iterator: Any) -> Any:
    """The first batch of one of the replicas, which is enough to tell Keras the shapes.

    Keras learns them from the mean of all replicas' first batches, which fails where those are not of one size, or
    are whole numbers.

    Args:
        strategy: A strategy with several replicas.
        iterator: Keras's iterator over epochs.

    Returns:
        The batch; None where there is none.
    """
    local = strategy.experimental_local_results
    for _, _, batches in iterator:
        return tf.nest.map_structure(lambda value: local(value)[0], next(batches), expand_composites=False)
    return None
