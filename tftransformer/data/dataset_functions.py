"""Settings of tf.data without which it keeps data that nobody needs any more, and waits without a reason.

TensorFlow attaches each function that a pipeline calls (`Dataset.from_generator`, `tf.numpy_function`) to the default
graph, for the life of the process: tokenised texts and stored states would pile up with each `fit` and `predict`.

Each iterator over a tuned dataset has a thread that measures and then sleeps for as long as the iterator has lived,
up to a minute. In TensorFlow 2.21 the end of an iterator does not always wake it but waits for it, so that an
epoch of ten seconds now and then takes twenty. The tuned settings, threads and buffers, are fixed numbers here.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf


class DatasetFunction:
    """A function that TensorFlow may keep for ever: what it holds goes with the dataset that calls it.

    Args:
        function: Function that does not hold that dataset, which would never go.

    Example:
        >>> rows = [1, 2]
        >>> source = DatasetFunction(lambda: iter(rows))
        >>> import tensorflow as tf
        >>> dataset = tf.data.Dataset.from_generator(source, output_signature=tf.TensorSpec([], tf.int32))
        >>> int(sum(source.until_end_of(dataset).as_numpy_iterator()))
        3
    """

    def __init__(self, function: Callable) -> None:
        self._function: Callable | None = function

    def __call__(self, *arguments: Any) -> Any:
        # Whoever still reads has kept an iterator without its dataset.
        if self._function is None:
            raise RuntimeError("the dataset that this function belongs to is gone")
        return self._function(*arguments)

    def until_end_of(self, dataset: Any) -> Any:
        """The dataset, with which, and with all that are made of it, the function will go."""
        weakref.finalize(dataset, self._forget).atexit = False
        return dataset

    def _forget(self) -> None:
        self._function = None


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
