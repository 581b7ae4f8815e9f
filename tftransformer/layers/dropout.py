"""Dropout (Srivastava et al. 2014) as Keras has it, with cheaper random numbers on TensorFlow."""

from typing import Any

import keras

from tftransformer.layers.kernels import dropout


@keras.saving.register_keras_serializable(package="tftransformer")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose masks come from random bytes: see `kernels.dropout`.

    Args:
        rate: Share of the elements that are zeroed in training (0 to below 1).
        noise_shape, seed: As in Keras; a noise shape falls back to Keras's own masks.

    Shapes: any, unchanged.

    Example:
        >>> float(keras.ops.max(Dropout(0.5)(keras.ops.ones((8, 8)), training=True)))
        2.0
    """

    def call(self, inputs: Any, training: bool = False) -> Any:
        if not training or self.rate == 0:
            return inputs
        if self.noise_shape is not None:
            return super().call(inputs, training=training)
        return dropout(inputs, self.rate, self.seed_generator)
