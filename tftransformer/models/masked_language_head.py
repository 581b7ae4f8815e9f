"""The head of masked language models: hidden vectors to logits over the vocabulary."""

from typing import Any

import keras
from keras import ops

from tftransformer.layers.feed_forward import ACTIVATIONS


class MaskedLanguageHead(keras.layers.Layer):
    """Logits over the vocabulary: a dense layer, an activation and a norm, then the token table (Devlin et al. 2018).

    Where the tables are narrower than the stream (ALBERT) the dense layer narrows it. Its weights have the names
    that checkpoints store such heads under: `dense/kernel`, `dense/bias`, `norm/gamma`, `norm/beta` and `bias`.

    Args:
        token: The encoder's `TokenEmbedding`, whose table is tied.
        activation: Activation as for `FeedForward`.
        layer_norm_epsilon: Constant added to the variance.

    Shapes: (M, D) -> (M, V).

    Example:
        >>> from tftransformer.layers.embeddings import TokenEmbedding
        >>> table = TokenEmbedding(50, 8)
        >>> table.build((None,))
        >>> MaskedLanguageHead(table)(ops.ones((3, 16))).shape
        TensorShape([3, 50])
    """

    def __init__(self, token: Any, activation: str = "gelu", layer_norm_epsilon: float = 1e-12, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A function, not the layer: Keras would count the table's variable as this layer's too.
        self._logits = token.logits
        self.table_shape = (token.input_dim, token.output_dim)
        self.activation = ACTIVATIONS[activation]
        policy = self.dtype_policy
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.dense = keras.layers.Dense(token.output_dim, kernel_initializer=initializer, dtype=policy, name="dense")
        self.norm = keras.layers.LayerNormalization(epsilon=layer_norm_epsilon, dtype=policy, name="norm")

    def build(self, hidden_shape: tuple) -> None:
        size, width = self.table_shape
        self.dense.build(hidden_shape)
        self.norm.build((*hidden_shape[:-1], width))
        self.bias = self.add_weight(shape=(size,), initializer="zeros", name="bias")

    def call(self, hidden: Any) -> Any:
        hidden = self.norm(self.activation(self.dense(hidden)))
        return ops.cast(self._logits(hidden), "float32") + ops.cast(self.bias, "float32")
