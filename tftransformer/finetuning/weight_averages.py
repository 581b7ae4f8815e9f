"""The average of the weights of all updates of a run, of which later ones count more.

Polyak & Juditsky 1992 (doi:10.1137/0330046) count all alike; here each counts the more the later it is (polynomial-decay
averaging: Shamir & Zhang 2013, arXiv:1212.1824), so that the start is forgotten in a short run as in a long one, without
a momentum to tune and without knowing the run's length. For TensorFlow.

Keras's own (`use_ema`, `SwapEMAWeights`; 3.15) would count the batches that are accumulated, have `EarlyStopping` bring back
other weights than it compared, change training by rounding at each exchange, and lag in short runs.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


class WeightAverages:
    """Second copy of the weights that an optimizer trains: their average or, while the model has that, the weights.

    After update t the average moves by (k + 1) / (t + k) of the way to the weights, so that those after update s count in
    proportion to about s ** k. With k = 2 / fraction - 2 the mean age of the average is that of the plain mean over the
    last `fraction` of all updates so far.

    A model trains its weights and is evaluated with the average, so the two change places: `show` before a validation
    and at the end of an epoch, `hide` before the next one. An optimizer variable says which is where, so that a file
    that was written with the average in the model has the weights to go on from.

    Args:
        optimizer: Optimizer of this package, to which the variables belong.
        fraction: Above 0 and at most 1.
    """

    def __init__(self, optimizer: Any, fraction: float) -> None:
        self.fraction = fraction
        self._optimizer = optimizer
        self._power = 2.0 / fraction - 2.0
        self._updates = optimizer.add_counter("averaged_updates")
        self._shown = optimizer.add_counter("average_shown")
        self.averages: list[keras.Variable] = []

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Make the averages, each as its weight is now: what joins later has been so all the time."""
        for variable in variables:
            average = self._optimizer.add_variable_from_reference(variable, name="average")
            average.assign(variable)
            self.averages.append(average)

    def count(self, updated: tf.Tensor) -> tf.Tensor:
        """Count an update, if it is one; how far the average moves to the new weights, from 0 to 1.

        Where somebody trains on from the average without `start`, a new average begins.
        """
        before = tf.where(self._shown.value > 0, tf.zeros_like(self._updates.value), self._updates.value)
        now = before + tf.cast(updated, before.dtype)
        self._updates.assign(tf.where(updated, now, self._updates.value))
        self._shown.assign(tf.where(updated, tf.zeros_like(now), self._shown.value))
        return (self._power + 1.0) / (tf.cast(tf.maximum(now, 1), tf.float32) + self._power)

    def update(
        self, strategy: tf.distribute.Strategy, places: Sequence[int], weights: Sequence[Any], step: Any
    ) -> None:
        """Move averages to the weights of these places; `step` is what `count` gave."""
        for place, weight in zip(places, weights):
            strategy.extended.update(self.averages[place].value, _move, args=(weight, step), group=False)

    def start(self, continued: bool) -> None:
        """Begin a run: a new average, from the weights as they are, or where it is continued, both as they were."""
        if continued:
            self.hide()
            return
        self._updates.assign(0)
        self._shown.assign(0)
        for average, weight in self._pairs():
            average.assign(weight)

    def show(self) -> None:
        """Give the model the average, if there is one."""
        if not _number(self._shown) and _number(self._updates):
            self._exchange(1)

    def hide(self) -> None:
        """Give the model the weights that train."""
        if _number(self._shown):
            self._exchange(0)

    def _pairs(self) -> list[tuple[keras.Variable, keras.Variable]]:
        return list(zip(self.averages, self._optimizer._trainable_variables))

    def _exchange(self, shown: int) -> None:
        strategy = self._optimizer._distribution_strategy
        for average, weight in self._pairs():
            strategy.extended.update(weight.value, _swap, args=(average.value,), group=False)
        self._shown.assign(shown)


def _number(counter: keras.Variable) -> int:
    return int(tf.convert_to_tensor(counter.value))


def _move(average: Any, weight: Any, step: Any) -> None:
    average.assign_add((tf.cast(weight, average.dtype) - average) * tf.cast(step, average.dtype))


def _swap(one: Any, other: Any) -> None:
    # No sums and differences, which would round: the weights that go on are those that were. (A weight in half precision
    # rounds its average, once an epoch.)
    first, second = tf.identity(one), tf.identity(other)
    one.assign(tf.cast(second, one.dtype))
    other.assign(tf.cast(first, other.dtype))
