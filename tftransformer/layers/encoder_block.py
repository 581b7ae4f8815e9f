"""The Transformer encoder block (Vaswani et al. 2017), post-norm or pre-norm (Xiong et al. 2020, arXiv 2002.04745)."""

from typing import Any

import keras

from tftransformer.layers.adapters import AdapterBank
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.feed_forward import FeedForward
from tftransformer.layers.masking import merge_padding
from tftransformer.layers.relative_positions import AttentionPosition, position_from_config
from tftransformer.layers.slots import SlottedLayer


class ResidualBlock:
    """Mixed into the blocks: residuals with dropout, norms and adapters, the feed-forward half, and the config."""

    slots: tuple[str, ...] = ("attention_adapters", "feed_forward_adapters")
    dropout: float
    normalize_first: bool
    layer_norm_epsilon: float
    feed_forward: FeedForward
    feed_forward_norm: keras.layers.Layer
    residual_dropout: Dropout
    # Behind the (self-)attention and the feed-forward layer, put in by `slots.attach`.
    attention_adapters: AdapterBank | None
    feed_forward_adapters: AdapterBank | None

    def _norm(self: Any, name: str) -> keras.layers.Layer:
        return keras.layers.LayerNormalization(epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name)

    def _add(
        self, x: Any, y: Any, norm: keras.layers.Layer, training: bool, adapters: AdapterBank | None = None
    ) -> Any:
        """The stream (B, T, D) with what a sublayer adds to it."""
        y = self.residual_dropout(y, training=training)
        x = x + (y if adapters is None else adapters(y))
        return x if self.normalize_first else norm(x)

    def _feed(self, x: Any, training: bool) -> Any:
        y = self.feed_forward(self.feed_forward_norm(x) if self.normalize_first else x, training=training)
        return self._add(x, y, self.feed_forward_norm, training, self.feed_forward_adapters)

    def _config(self, attention: MultiHeadAttention) -> dict:
        of_attention, of_feed_forward = attention.get_config(), self.feed_forward.get_config()
        shared = (
            "num_heads", "head_dim", "num_key_value_heads", "use_bias", "position", "kernel_initializer",
        )  # fmt: skip
        return {
            **super().get_config(),  # type: ignore[misc]
            **{name: of_attention[name] for name in shared},
            **{name: of_feed_forward[name] for name in ("intermediate_dim", "activation", "gated")},
            "dropout": self.dropout,
            "attention_dropout": of_attention["dropout"],
            "normalize_first": self.normalize_first,
            "layer_norm_epsilon": self.layer_norm_epsilon,
        }

    @classmethod
    def from_config(cls, config: dict) -> Any:
        return cls(**{**config, "position": position_from_config(config.get("position"))})


@keras.saving.register_keras_serializable(package="tftransformer")
class EncoderBlock(ResidualBlock, SlottedLayer):
    """Self-attention, then a feed-forward layer, each with dropout, a residual and a layer norm.

    A frozen block (`trainable = False`) runs without dropout, also in `fit`.

    Args:
        num_heads: N, query heads.
        intermediate_dim: Width inside the feed-forward layer.
        head_dim: H. None: D/N.
        num_key_value_heads: K, for grouped-query attention. None: N.
        dropout: Rate on what each sublayer adds to the residual stream (0 to 1).
        attention_dropout: Rate on the attention scores. None: `dropout`.
        activation: "gelu", "gelu_tanh", "relu" or "silu".
        gated: Gated feed-forward layer.
        use_bias: Biases in the projections.
        normalize_first: Pre-norm; the model then needs one more norm after its last block.
        layer_norm_epsilon: Added to the variance; 1e-12 is BERT's.
        position: Part that puts positions into the attention: `RotaryPosition`, `RelativePosition` or None.
        kernel_initializer: Of every kernel.

    Call arguments:
        x: (B, T, D).
        padding_mask: (B, T), 1 at real tokens. A Keras mask on `x` is merged in.
        attention_mask: (B, T, T), 1 where a token may see another.
        attention_bias: Broadcastable to (B, N, T, T), added to the scores before the softmax.
        return_attention_scores: Also return the (B, N, T, T) scores.

    Returns:
        (B, T, D), or a pair of it and the scores.

    Example:
        >>> x = keras.random.normal((2, 7, 16))
        >>> EncoderBlock(num_heads=4, intermediate_dim=32)(x).shape
        TensorShape([2, 7, 16])
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        dropout: float = 0.0,
        attention_dropout: float | None = None,
        activation: str = "gelu",
        gated: bool = False,
        use_bias: bool = True,
        normalize_first: bool = False,
        layer_norm_epsilon: float = 1e-12,
        position: AttentionPosition | None = None,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        policy = self.dtype_policy
        self.attention = MultiHeadAttention(
            num_heads,
            head_dim=head_dim,
            num_key_value_heads=num_key_value_heads,
            use_bias=use_bias,
            dropout=dropout if attention_dropout is None else attention_dropout,
            position=position,
            kernel_initializer=kernel_initializer,
            dtype=policy,
            name="attention",
        )
        feed_forward = (intermediate_dim, activation, gated, use_bias, kernel_initializer)
        self.feed_forward = FeedForward(*feed_forward, dtype=policy, name="feed_forward")
        self.attention_norm = self._norm("attention_norm")
        self.feed_forward_norm = self._norm("feed_forward_norm")
        self.residual_dropout = Dropout(dropout, dtype=policy, name="dropout")
        self.attention_adapters = self.feed_forward_adapters = None
        self.supports_masking = True

    def build(self, x_shape: tuple, **_: Any) -> None:
        for layer in (self.attention, self.attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(x_shape)

    def call(
        self,
        x: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        attention_bias: Any = None,
        return_attention_scores: bool = False,
        mask: Any = None,
        x_mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        training = bool(training) and self.trainable
        attended, scores = self.attention(
            self.attention_norm(x) if self.normalize_first else x,
            padding_mask=merge_padding(padding_mask, merge_padding(mask, x_mask)),
            attention_mask=attention_mask,
            attention_bias=attention_bias,
            return_attention_scores=True,
            training=training,
        )
        x = self._add(x, attended, self.attention_norm, training, self.attention_adapters)
        x = self._feed(x, training)
        return (x, scores) if return_attention_scores else x

    def compute_output_spec(
        self,
        x: Any,
        padding_mask: Any = None,
        attention_mask: Any = None,
        attention_bias: Any = None,
        return_attention_scores: bool = False,
        **_: Any,
    ) -> Any:
        # Known beforehand: without this Keras would trace the whole block once more to find it out.
        hidden = keras.KerasTensor(x.shape, dtype=self.compute_dtype)
        if not return_attention_scores:
            return hidden
        scores = (x.shape[0], self.attention.num_heads, x.shape[1], x.shape[1])
        return hidden, keras.KerasTensor(scores, dtype=self.compute_dtype)

    def get_config(self) -> dict:
        return self._config(self.attention)
