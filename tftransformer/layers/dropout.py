"""Dropout (Srivastava et al. 2014) as Keras has it, with cheaper random numbers on TensorFlow."""

from typing import Any

import keras

from tftransformer.layers.kernels import dropout

_RANDOM_STATE = "random_state"


@keras.saving.register_keras_serializable(package="tftransformer")
class Dropout(keras.layers.Dropout):
    """`keras.layers.Dropout` whose masks come from random bytes: see `kernels.dropout`.

    The place in the random numbers is saved with the weights, so that training which was interrupted goes on with the
    masks that it would have had. Keras saves no random state: its `BackupAndRestore` is exact without dropout only.

    Args:
        rate: Fraction of the elements that are zeroed in training (0 to below 1).
        noise_shape, seed: Arguments as in Keras; a noise shape falls back to Keras's own masks.

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

    def save_own_variables(self, store: Any) -> None:
        if self.rate > 0:
            store[_RANDOM_STATE] = self.seed_generator.state

    def load_own_variables(self, store: Any) -> None:
        # Weights from elsewhere, or saved at a rate of zero, come without.
        if self.rate > 0 and _RANDOM_STATE in store.keys():
            self.seed_generator.state.assign(store[_RANDOM_STATE])
