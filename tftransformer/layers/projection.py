"""The dense projection that every block uses: one matrix product over all B*T rows."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tftransformer")
class Projection(keras.layers.Layer):
    """`y = x W + b` on the last axis.

    The same function as `keras.layers.Dense` without an activation. The rows are flattened first, so that
    the product is one (B*T, in) x (in, out) matrix product, which the CPU libraries run faster than a batch
    of B small ones.

    Args:
        units: Width of the output.
        use_bias: Add a bias.
        kernel_initializer: Of the (in, units) kernel.

    Shapes: (..., in) -> (..., units).

    Example:
        >>> Projection(5)(keras.ops.ones((2, 3, 4))).shape
        TensorShape([2, 3, 5])
    """

    def __init__(
        self, units: int, *, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        # A copy: the layers of a block are given one initializer, and one object draws the same numbers twice.
        self.kernel_initializer = keras.initializers.get(kernel_initializer).clone()
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=self.kernel_initializer
        )
        self.bias = (
            self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        )

    def call(self, x: Any) -> Any:
        leading = ops.shape(x)[:-1]
        y = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), self.kernel)
        if self.bias is not None:
            y = ops.add(y, self.bias)
        return ops.reshape(y, (*leading, self.units)) if len(leading) != 1 else y

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }
