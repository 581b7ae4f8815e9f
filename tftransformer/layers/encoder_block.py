"""The Transformer encoder block (Vaswani et al. 2017), post-norm or pre-norm (Xiong et al. 2020, arXiv 2002.04745)."""

from typing import Any

import keras

from tftransformer.layers.adapters import AdapterBank
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.feed_forward import FeedForward
from tftransformer.layers.masking import merge_padding
from tftransformer.layers.norms import make_norm
from tftransformer.layers.relative_positions import AttentionPosition, position_from_config
from tftransformer.layers.slots import SlottedLayer


class ResidualBlock(SlottedLayer):
    """Common base of encoder and decoder blocks: arguments, residuals, norms, adapters, the feed-forward half."""

    slots = ("attention_adapters", "feed_forward_adapters")
    arguments = ("dropout", "normalize_first", "layer_norm_epsilon", "norm")
    # The attribute that holds the (self-)attention.
    own_attention = "attention"
    # Behind it and the feed-forward layer, put in by `slots.attach`.
    attention_adapters: AdapterBank | None
    feed_forward_adapters: AdapterBank | None

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
        norm: str = "layer",
        scale: bool = True,
        qkv_bias: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dropout = dropout
        self.norm = norm
        self.normalize_first = normalize_first
        self.layer_norm_epsilon = layer_norm_epsilon
        attention = {
            "num_heads": num_heads,
            "head_dim": head_dim,
            "num_key_value_heads": num_key_value_heads,
            "use_bias": use_bias,
            "qkv_bias": qkv_bias,
            "scale": scale,
            "dropout": dropout if attention_dropout is None else attention_dropout,
            "kernel_initializer": kernel_initializer,
            "dtype": self.dtype_policy,
        }
        feed_forward = (intermediate_dim, activation, gated, use_bias, kernel_initializer)
        # In the order of the block's weights, which optimizers and `get_weights` go by.
        self._make_attention(attention, position)
        self.feed_forward = FeedForward(*feed_forward, dtype=self.dtype_policy, name="feed_forward")
        self._make_norms()
        self.residual_dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")
        self.attention_adapters = self.feed_forward_adapters = None
        self.supports_masking = True

    def _make_attention(self, attention: dict, position: AttentionPosition | None) -> None:
        raise NotImplementedError

    def _make_norms(self) -> None:
        self.feed_forward_norm = self._norm("feed_forward_norm")

    def _norm(self, name: str) -> keras.layers.Layer:
        return make_norm(self.norm, epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name)

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

    def get_config(self) -> dict:
        of_attention, of_feed_forward = getattr(self, self.own_attention).get_config(), self.feed_forward.get_config()
        shared = (
            "num_heads", "head_dim", "num_key_value_heads", "use_bias", "qkv_bias", "scale", "position",
            "kernel_initializer",
        )  # fmt: skip
        return {
            **super().get_config(),
            **{name: of_attention[name] for name in shared},
            **{name: of_feed_forward[name] for name in ("intermediate_dim", "activation", "gated")},
            "attention_dropout": of_attention["dropout"],
        }

    @classmethod
    def from_config(cls, config: dict) -> Any:
        return cls(**{**config, "position": position_from_config(config.get("position"))})


@keras.saving.register_keras_serializable(package="tftransformer")
class EncoderBlock(ResidualBlock):
    """Self-attention, then a feed-forward layer, each with dropout, a residual and a layer norm.

    A frozen block (`trainable = False`) runs without dropout, also in `fit`.

    Args:
        num_heads: N, the number of query heads.
        intermediate_dim: Width inside the feed-forward layer.
        head_dim: H. None: D/N.
        num_key_value_heads: K, for grouped-query attention. None: N.
        dropout: Dropout rate on what each sublayer adds to the residual stream (0 to 1).
        attention_dropout: Dropout rate on the attention scores. None: `dropout`.
        activation: "gelu", "gelu_tanh", "relu" or "silu".
        gated: Whether the feed-forward layer is gated.
        use_bias: Whether the projections have biases.
        normalize_first: Whether the norms come before the sublayers (pre-norm); the model then needs one more norm
            after its last block.
        layer_norm_epsilon: Constant added to the variance; 1e-12 is BERT's.
        position: Part that puts positions into the attention: `RotaryPosition`, `RelativePosition` or None.
        kernel_initializer: Initializer of every kernel.
        norm: "layer" or "rms" (Zhang and Sennrich 2019, arXiv 1910.07467).
        scale: Whether the products of queries and keys are divided by sqrt(H), as everywhere but in T5.
        qkv_bias: Whether the projections of query, key and value have biases. None: `use_bias`.

    Call arguments:
        x: Hidden vectors (B, T, D).
        padding_mask: Mask (B, T), 1 at real tokens. A Keras mask on `x` is merged in.
        attention_mask: Mask (B, T, T), 1 where a token may see another.
        attention_bias: Term added to the scores before the softmax, broadcastable to (B, N, T, T).
        return_attention_scores: Whether to return the (B, N, T, T) scores, too.

    Returns:
        (B, T, D), or a pair of it and the scores.

    Example:
        >>> x = keras.random.normal((2, 7, 16))
        >>> EncoderBlock(num_heads=4, intermediate_dim=32)(x).shape
        TensorShape([2, 7, 16])
    """

    def _make_attention(self, attention: dict, position: AttentionPosition | None) -> None:
        self.attention = MultiHeadAttention(**attention, position=position, name="attention")

    def _make_norms(self) -> None:
        self.attention_norm = self._norm("attention_norm")
        super()._make_norms()

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
