"""The dense projection that every block uses: one matrix product over all B*T rows."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tftransformer.layers.slots import SlottedLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class Projection(SlottedLayer):
    """`y = x W + b` on the last axis.

    The same function as `keras.layers.Dense` without an activation. The rows are flattened first, so that
    the product is one (B*T, in) x (in, out) matrix product, which the CPU libraries run faster than a batch
    of B small ones.

    Args:
        units: Width of the output.
        use_bias: Add a bias.
        kernel_initializer: Of the (in, units) kernel.

    Attributes:
        delta: A layer whose output is added, such as `LowRankDelta`; None where there is none. `slots.attach` puts
            it in.

    Shapes: (..., in) -> (..., units).

    Example:
        >>> Projection(5)(keras.ops.ones((2, 3, 4))).shape
        TensorShape([2, 3, 5])
    """

    slots = ("delta",)

    def __init__(
        self, units: int, *, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        # A copy: the layers of a block are given one initializer, and one object draws the same numbers twice.
        self.kernel_initializer = keras.initializers.get(kernel_initializer).clone()
        self.delta: keras.layers.Layer | None = None
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=self.kernel_initializer
        )
        self.bias = (
            self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        )

    def call(self, x: Any, training: bool | None = None) -> Any:
        y = _project(x, self.kernel, self.bias, self.units)
        return y + self.delta(x, training=training) if self.adds else y

    @property
    def adds(self) -> bool:
        """Whether there is something to add."""
        return self.delta is not None and not self.delta.merged

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "units": self.units,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


def project_together(x: Any, projections: Sequence[Projection], training: bool | None = None) -> Any:
    """What built projections of one input give, side by side, from a single matrix product.

    One large product runs faster than several small ones and reads x once, also on the way back. The weights
    stay the projections' own.

    Args:
        x: (..., in).
        projections: All with a bias or all without.
        training: For what is added to them.

    Returns:
        (..., sum of the units).

    Example:
        >>> parts = [Projection(2), Projection(3)]
        >>> for part in parts:
        ...     part.build((None, 4))
        >>> project_together(keras.ops.ones((1, 4)), parts).shape
        TensorShape([1, 5])
    """
    kernel = ops.concatenate([projection.kernel for projection in projections], axis=-1)
    biased = projections[0].bias is not None
    bias = ops.concatenate([projection.bias for projection in projections], axis=-1) if biased else None
    y = _project(x, kernel, bias, sum(projection.units for projection in projections))
    if not any(projection.adds for projection in projections):
        return y
    deltas = [
        projection.delta(x, training=training)
        if projection.adds
        else ops.zeros((*ops.shape(x)[:-1], projection.units), y.dtype)
        for projection in projections
    ]
    return y + ops.concatenate(deltas, axis=-1)


def _project(x: Any, kernel: Any, bias: Any, units: int) -> Any:
    leading = ops.shape(x)[:-1]
    y = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
    if bias is not None:
        y = ops.add(y, bias)
    return ops.reshape(y, (*leading, units)) if len(leading) != 1 else y
