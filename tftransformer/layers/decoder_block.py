"""The Transformer decoder block (Vaswani et al. 2017): causal self-attention, cross-attention, feed-forward."""

from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.encoder_block import ResidualBlock
from tftransformer.layers.feed_forward import FeedForward
from tftransformer.layers.masking import merge_padding
from tftransformer.layers.relative_positions import AttentionPosition
from tftransformer.layers.slots import SlottedLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class DecoderBlock(ResidualBlock, SlottedLayer):
    """Causal self-attention, cross-attention to a memory if asked for, then a feed-forward layer.

    Each sublayer has dropout, a residual and a layer norm. A frozen block (`trainable = False`) runs without
    dropout, also in `fit`.

    Args:
        cross_attention: With a second attention, to a memory such as an encoder's output.
        position: As for `EncoderBlock`, for the self-attention alone: cross-attention has no offsets that mean
            anything.
        num_heads, intermediate_dim, head_dim, num_key_value_heads, dropout, attention_dropout, activation, gated,
            use_bias, normalize_first, layer_norm_epsilon, kernel_initializer: As for `EncoderBlock`.

    Call arguments:
        x: (B, T, D).
        memory: (B, S, D'), what the cross-attention looks at. May be left out where `memory_cache` is given.
        padding_mask: (B, T), 1 at real tokens; with a cache (B, S_max). A Keras mask on `x` is merged in.
        memory_padding_mask: (B, S), 1 at real tokens. A Keras mask on `memory` is merged in.
        attention_mask: (B, T, T), 1 where a token may see another, besides the causal mask.
        attention_bias: Broadcastable to (B, N, T, T), added to the self-attention's scores.
        cache: The self-attention's keys and values so far, from `empty_cache`.
        cache_index: Position of the first token in `x`; the cache is written from there on.
        memory_cache: The cross-attention's keys and values, from `memory_keys_and_values`, so that they are
            computed once a memory and not once a token.
        return_attention_scores: Also return the self-attention's (B, N, T, T) scores and, where there is
            one, the cross-attention's (B, N, T, S).

    Returns:
        (B, T, D); or a tuple of it, the scores if asked for, and the new cache if `cache_index` was given.

    Raises:
        TransformerError: A memory for a block without cross-attention, or none for a block with it.

    Example:
        >>> x, memory = keras.random.normal((2, 5, 16)), keras.random.normal((2, 7, 16))
        >>> DecoderBlock(num_heads=4, intermediate_dim=32, cross_attention=True)(x, memory).shape
        TensorShape([2, 5, 16])
    """

    def __init__(
        self,
        num_heads: int,
        intermediate_dim: int,
        cross_attention: bool = False,
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
        attention = {
            "num_heads": num_heads,
            "head_dim": head_dim,
            "num_key_value_heads": num_key_value_heads,
            "use_bias": use_bias,
            "dropout": dropout if attention_dropout is None else attention_dropout,
            "kernel_initializer": kernel_initializer,
            "dtype": policy,
        }
        self.self_attention = MultiHeadAttention(**attention, position=position, name="self_attention")
        self.self_attention_norm = self._norm("self_attention_norm")
        self.cross_attention: MultiHeadAttention | None = None
        self.cross_attention_norm: Any = None
        if cross_attention:
            self.cross_attention = MultiHeadAttention(**attention, name="cross_attention")
            self.cross_attention_norm = self._norm("cross_attention_norm")
        feed_forward = (intermediate_dim, activation, gated, use_bias, kernel_initializer)
        self.feed_forward = FeedForward(*feed_forward, dtype=policy, name="feed_forward")
        self.feed_forward_norm = self._norm("feed_forward_norm")
        self.residual_dropout = Dropout(dropout, dtype=policy, name="dropout")
        self.attention_adapters = self.feed_forward_adapters = None
        self.supports_masking = True

    def build(self, x_shape: tuple, memory_shape: tuple | None = None) -> None:
        for layer in (self.self_attention, self.self_attention_norm, self.feed_forward, self.feed_forward_norm):
            layer.build(x_shape)
        if self.cross_attention is not None:
            self.cross_attention.build(x_shape, memory_shape or x_shape)
            self.cross_attention_norm.build(x_shape)

    def call(
        self,
        x: Any,
        memory: Any = None,
        padding_mask: Any = None,
        memory_padding_mask: Any = None,
        attention_mask: Any = None,
        attention_bias: Any = None,
        cache: tuple | None = None,
        cache_index: Any = None,
        memory_cache: tuple | None = None,
        return_attention_scores: bool = False,
        mask: Any = None,
        x_mask: Any = None,
        memory_mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        self._check_memory(memory is not None or memory_cache is not None)
        training = bool(training) and self.trainable
        incoming = merge_padding(mask, x_mask) if cache is None else None
        attended, *rest = self.self_attention(
            self.self_attention_norm(x) if self.normalize_first else x,
            padding_mask=merge_padding(padding_mask, incoming),
            attention_mask=attention_mask,
            attention_bias=attention_bias,
            causal=True,
            cache=cache,
            cache_index=cache_index,
            return_attention_scores=True,
            training=training,
        )
        x = self._add(x, attended, self.self_attention_norm, training, self.attention_adapters)
        if self.cross_attention is not None:
            attended, cross_scores = self.cross_attention(
                self.cross_attention_norm(x) if self.normalize_first else x,
                key=memory if memory_cache is None else None,
                padding_mask=merge_padding(memory_padding_mask, memory_mask),
                cache=memory_cache,
                return_attention_scores=True,
                training=training,
            )
            rest.insert(1, cross_scores)
            x = self._add(x, attended, self.cross_attention_norm, training)
        x = self._feed(x, training)
        if not return_attention_scores:
            rest = rest[-1:] if cache_index is not None else []
        return (x, *rest) if rest else x

    def _check_memory(self, given: bool) -> Any:
        """The cross-attention, which is there where there is a memory."""
        if given != (self.cross_attention is not None):
            rule = "given" if self.cross_attention is not None else "left out"
            raise TransformerError(
                f"memory must be {rule} where cross_attention is {self.cross_attention is not None}, as in {self.name!r}"
            )
        return self.cross_attention

    def empty_cache(self, batch_size: int, length: int) -> tuple[Any, Any]:
        """The self-attention's cache for up to `length` tokens: a pair of (B, K, length, H) zeros."""
        return self.self_attention.empty_cache(batch_size, length)

    def memory_keys_and_values(self, memory: Any) -> tuple[Any, Any]:
        """The cross-attention's keys and values of a (B, S, D') memory, for `memory_cache`."""
        attention = self._check_memory(True)
        return attention.project_keys_and_values(memory)

    def get_config(self) -> dict:
        return {**self._config(self.self_attention), "cross_attention": self.cross_attention is not None}
