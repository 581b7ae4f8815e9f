"""Masked language modelling: the head, and its loss at the hidden places alone."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops


class MaskedLanguageHead(keras.layers.Layer):
    """Logits over the vocabulary: a dense layer, GELU and a norm, then the token table (Devlin et al. 2018).

    Args:
        token: The encoder's `TokenEmbedding`, whose table is tied.
        layer_norm_epsilon: Added to the variance.

    Shapes: (M, D) -> (M, V).
    """

    def __init__(self, token: Any, layer_norm_epsilon: float = 1e-12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._token = [token]  # in a list, so that the table stays the encoder's and is not tracked twice
        self.dense = keras.layers.Dense(
            token.output_dim,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="dense",
        )
        self.norm = keras.layers.LayerNormalization(
            epsilon=layer_norm_epsilon, dtype=self.dtype_policy, name="norm"
        )

    def build(self, hidden_shape: tuple) -> None:
        table = self._token[0]
        self.dense.build(hidden_shape)
        self.norm.build((*hidden_shape[:-1], table.output_dim))
        self.bias = self.add_weight(shape=(table.input_dim,), initializer="zeros", name="bias")

    def call(self, hidden: Any) -> Any:
        hidden = self.norm(ops.gelu(self.dense(hidden), approximate=False))
        return ops.cast(self._token[0].logits(hidden), "float32") + ops.cast(self.bias, "float32")


def masked_loss(head: MaskedLanguageHead, hidden: Any, batch: Mapping[str, Any]) -> Any:
    """Mean cross-entropy of the hidden pieces, in nats.

    Only they pay for the product with the whole vocabulary.

    Args:
        head: The head.
        hidden: (B, T, D), the encoder's output.
        batch: `mask_places`, `mask_targets` and `mask_weights` (M,), see `ShardBatches`.
    """
    rows = ops.reshape(hidden, (-1, hidden.shape[-1]))
    logits = head(ops.take(rows, batch["mask_places"], axis=0))
    losses = keras.losses.sparse_categorical_crossentropy(batch["mask_targets"], logits, from_logits=True)
    weights = batch["mask_weights"]
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)
