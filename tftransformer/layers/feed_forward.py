"""The position-wise feed-forward layer, plain or gated (Shazeer 2020, arXiv 2002.05202)."""

from typing import Any

import keras
from keras import ops

from tftransformer.errors import check_choice
from tftransformer.layers.kernels import gelu
from tftransformer.layers.projection import build_projection
from tftransformer.layers.slots import SlottedLayer

ACTIVATIONS = {
    "gelu": gelu,
    "gelu_tanh": lambda x, training=False: ops.gelu(x, approximate=True),
    "relu": lambda x, training=False: ops.relu(x),
    "silu": lambda x, training=False: ops.silu(x),
}


@keras.saving.register_keras_serializable(package="tftransformer")
class FeedForward(SlottedLayer):
    """`activation(x W1) W2`, or gated `(activation(x Wg) * x W1) W2`, applied to every position alone.

    Args:
        intermediate_dim: Width between the two products.
        activation: "gelu" (exact), "gelu_tanh", "relu" or "silu".
        gated: Whether there is a gate; "silu" makes it SwiGLU, "gelu" GEGLU.
        use_bias: Whether the projections have biases.
        kernel_initializer: Initializer of the kernels.

    Shapes: (B, T, D) -> (B, T, D).

    Raises:
        TransformerError: The activation is unknown.

    Example:
        >>> FeedForward(64)(keras.ops.ones((2, 3, 16))).shape
        TensorShape([2, 3, 16])
    """

    arguments = ("intermediate_dim", "activation", "gated", "use_bias", "kernel_initializer")

    def __init__(
        self,
        intermediate_dim: int,
        activation: str = "gelu",
        gated: bool = False,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_choice("activation", activation, ACTIVATIONS)
        self.intermediate_dim = intermediate_dim
        self.activation = activation
        self.gated = gated
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        inner = (*input_shape[:-1], self.intermediate_dim)
        self.intermediate = build_projection(self, "intermediate", self.intermediate_dim, input_shape)
        self.gate = build_projection(self, "gate", self.intermediate_dim, input_shape) if self.gated else None
        self.output_projection = build_projection(self, "output", input_shape[-1], inner)

    def call(self, x: Any, training: bool | None = None) -> Any:
        activate = ACTIVATIONS[self.activation]
        training = bool(training) and self.trainable
        if self.gate is None:
            return self.output_projection(activate(self.intermediate(x), training))
        return self.output_projection(activate(self.gate(x), training) * self.intermediate(x))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape
