"""Python functions that `tf.data` calls, and with them what they hold, go when their dataset goes.

TensorFlow attaches each function that a pipeline calls (`Dataset.from_generator`, `tf.numpy_function`) to the default
graph, for the life of the process: tokenised texts and stored states would pile up with each `fit` and `predict`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any


class DatasetFunction:
    """What TensorFlow may keep for ever: a function that is forgotten with the dataset that calls it.

    Args:
        function: Anything but one that holds that dataset, which would never go.

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
        # Never silently nothing: who still reads has kept an iterator without its dataset.
        if self._function is None:
            raise RuntimeError("the dataset that this function belongs to is gone")
        return self._function(*arguments)

    def until_end_of(self, dataset: Any) -> Any:
        """The dataset, with which, and with all that are made of it, the function will go."""
        weakref.finalize(dataset, self._forget).atexit = False
        return dataset

    def _forget(self) -> None:
        self._function = None
