"""tf.data without its tuning in the background, which makes the ends of epochs wait.

Each iterator over a tuned dataset has a thread that measures and then sleeps for as long as the iterator has lived,
up to a minute. In TensorFlow 2.21 the end of an iterator does not always wake it but waits for it, so that an
epoch of ten seconds now and then takes twenty. What the tuning is for, threads and buffers, is given here in numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# Batches made ahead; making one takes far less time than training on it.
BATCHES_AHEAD = 4


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """The dataset with tuning off, unless its owner chose something about that.

    `num_parallel_calls=tf.data.AUTOTUNE` then means a thread for each core.

    Example:
        >>> import tensorflow as tf
        >>> without_autotune(tf.data.Dataset.range(3)).options().autotune.enabled
        False
    """
    import tensorflow as tf

    if dataset.options().autotune.enabled is not None:
        return dataset
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
