"""The part that the two workers on Keras share: the clock as a callback, and the state of a model put back in place."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sidebyside.fit_turns import Clock


class ClockCallback(keras.callbacks.Callback):
    """Calls a clock after each step and epoch."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._clock.step():
            self.model.stop_training = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._clock.epoch()


class KerasTrainer:
    """A compiled Keras task; subclasses build it and say how it is trained.

    Args:
        model: The task.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._forward = tf.function(lambda x: model(x, training=False), reduce_retracing=True)
        self._copies: list[tuple[Any, np.ndarray]] = []

    def remember(self) -> None:
        """Keep the weights and the optimizer's state."""
        self.model.optimizer.build(self.model.trainable_variables)
        # Seeds of dropout stay out: a run that starts over need not draw the same masks.
        kept = [*self.model.weights, *self.model.optimizer.variables]
        self._copies = [(variable, np.array(variable)) for variable in kept]

    def restore(self) -> None:
        """Return to what was kept."""
        for variable, value in self._copies:
            variable.assign(value)

    def run(self, batches: Iterable[dict]) -> np.ndarray:
        """(B, C) logits of integer batches, in their order."""
        outputs = [tf.cast(self._forward(batch), tf.float32).numpy() for batch in batches]
        return np.concatenate(outputs)
