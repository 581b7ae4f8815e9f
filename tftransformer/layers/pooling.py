"""From one vector a token to one vector a text: CLS, mean and maximum over the real tokens."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from tftransformer.errors import check_choice
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.projection import Projection, initializer_or_normal
from tftransformer.layers.slots import SlottedLayer

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "tanh": ops.tanh,
    "relu": ops.relu,
    "gelu": lambda x: ops.gelu(x, approximate=False),
}


class _OverTokens:
    """Mixed into poolings: (B, T, D) -> (B, D)."""

    def build(self, x_shape: tuple, **_: Any) -> None:
        # Nothing to make; Keras asks `compute_output_shape` for what `build` was told, by the same names.
        pass

    def compute_mask(self, x: Any, previous_mask: Any = None) -> None:
        return None  # the mask ends here: there are no more positions

    def compute_output_shape(self, x_shape: tuple, **_: Any) -> tuple:
        return (x_shape[0], x_shape[-1])


@keras.saving.register_keras_serializable(package="tftransformer")
class CLSPooling(_OverTokens, SlottedLayer):
    """The first token's vector, through a dense layer and an activation unless `dense` is False.

    Args:
        dense: Whether there is the dense layer, whose weights BERT checkpoints hold (`pooler/dense/kernel`).
        activation: Activation behind it: "tanh" in BERT, ALBERT and RoBERTa, "relu" in DistilBERT, "gelu" in ELECTRA.
        dropout: Dropout rate before it (0 to 1); RoBERTa's and ELECTRA's classifiers have one.
        kernel_initializer: Initializer of its kernel; a truncated normal distribution of deviation 0.02 by default.

    Shapes: (B, T, D) -> (B, D).

    Example:
        >>> CLSPooling()(keras.ops.ones((2, 3, 16))).shape
        TensorShape([2, 16])
    """

    arguments = ("activation", "kernel_initializer")

    def __init__(
        self,
        dense: bool = True,
        activation: str = "tanh",
        dropout: float = 0.0,
        kernel_initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.with_dense = dense
        check_choice("activation", activation, _ACTIVATIONS)
        self.activation = activation
        self.dropout_rate = dropout
        self.dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.kernel_initializer = initializer_or_normal(kernel_initializer)

    def build(self, x_shape: tuple, **_: Any) -> None:
        self.dense = None
        if self.with_dense:
            self.dense = Projection(
                x_shape[-1], kernel_initializer=self.kernel_initializer, dtype=self.dtype_policy, name="dense"
            )
            self.dense.build((x_shape[0], x_shape[-1]))

    def call(self, x: Any, padding_mask: Any = None, training: bool | None = None) -> Any:
        first = x[:, 0]
        if self.dense is None:
            return first
        first = self.dropout(first, training=bool(training) and self.trainable)
        return _ACTIVATIONS[self.activation](self.dense(first))

    def get_config(self) -> dict:
        return {**super().get_config(), "dense": self.with_dense, "dropout": self.dropout_rate}


@keras.saving.register_keras_serializable(package="tftransformer")
class MeanPooling(_OverTokens, keras.layers.Layer):
    """The mean over the real tokens; zeros where there are none.

    Shapes: x (B, T, D), padding_mask (B, T) or None -> (B, D).

    Example:
        >>> MeanPooling()(keras.ops.ones((2, 3, 16)), padding_mask=[[1, 1, 0], [1, 0, 0]]).shape
        TensorShape([2, 16])
    """

    def call(self, x: Any, padding_mask: Any = None, x_mask: Any = None, mask: Any = None) -> Any:
        real = _real(x, padding_mask, x_mask, mask)
        # Summed in float32: in half precision a long text's sum would swallow its last tokens.
        total = ops.sum(ops.cast(x, "float32") * real, axis=1)
        return ops.cast(total / ops.maximum(ops.sum(real, axis=1), 1.0), x.dtype)


@keras.saving.register_keras_serializable(package="tftransformer")
class MaxPooling(_OverTokens, keras.layers.Layer):
    """The maximum over the real tokens, channel by channel; zeros where there are none.

    Shapes: x (B, T, D), padding_mask (B, T) or None -> (B, D).

    Example:
        >>> MaxPooling()(keras.ops.ones((2, 3, 16))).shape
        TensorShape([2, 16])
    """

    def call(self, x: Any, padding_mask: Any = None, x_mask: Any = None, mask: Any = None) -> Any:
        real = _real(x, padding_mask, x_mask, mask)
        highest = ops.max(ops.where(real > 0, ops.cast(x, "float32"), -3e38), axis=1)
        return ops.cast(ops.where(ops.sum(real, axis=1) > 0, highest, 0.0), x.dtype)


def _real(x: Any, *masks: Any) -> Any:
    """(B, T, 1) of ones and zeros in float32: where all the masks that are given allow a token."""
    real = ops.ones_like(ops.cast(x[:, :, :1], "float32"))
    for mask in masks:
        if mask is not None:
            real = real * ops.expand_dims(ops.cast(mask, "float32"), -1)
    return real
