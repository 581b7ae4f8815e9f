"""The Transformer decoder block (Vaswani et al. 2017): causal self-attention, cross-attention, feed-forward."""

from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.encoder_block import ResidualBlock
from tftransformer.layers.masking import merge_padding
from tftransformer.layers.relative_positions import AttentionPosition


@keras.saving.register_keras_serializable(package="tftransformer")
class DecoderBlock(ResidualBlock):
    """Causal self-attention, cross-attention to a memory if asked for, then a feed-forward layer.

    Each sublayer has dropout, a residual and a layer norm. A frozen block (`trainable = False`) runs without
    dropout, also in `fit`.

    Args:
        cross_attention: Whether there is a second attention, to a memory such as an encoder's output.
        position: Position part as for `EncoderBlock`, for the self-attention alone: cross-attention has no offsets that
            mean anything.
        num_heads, intermediate_dim, head_dim, num_key_value_heads, dropout, attention_dropout, activation, gated,
            use_bias, normalize_first, layer_norm_epsilon, kernel_initializer, norm, scale, qkv_bias: As for `EncoderBlock`.

    Call arguments:
        x: Tensor (B, T, D).
        memory: Tensor (B, S, D') that the cross-attention looks at. May be left out where `memory_cache` is given.
        padding_mask: Mask (B, T), 1 at real tokens; with a cache (B, S_max). A Keras mask on `x` is merged in.
        memory_padding_mask: Mask (B, S), 1 at real tokens. A Keras mask on `memory` is merged in.
        attention_mask: Mask (B, T, T), 1 where a token may see another, besides the causal mask.
        attention_bias: Broadcastable to (B, N, T, T), added to the self-attention's scores.
        cache: The self-attention's keys and values so far, from `empty_cache`.
        cache_index: Position of the first token in `x`; the cache is written from there on.
        memory_cache: The cross-attention's keys and values, from `memory_keys_and_values`, so that they are
            computed once a memory and not once a token.
        return_attention_scores: Whether to return, too, the self-attention's (B, N, T, T) scores and, where there is
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

    own_attention = "self_attention"

    def __init__(
        self, num_heads: int, intermediate_dim: int, cross_attention: bool = False, *args: Any, **kwargs: Any
    ) -> None:
        self._crosses = cross_attention
        super().__init__(num_heads, intermediate_dim, *args, **kwargs)

    def _make_attention(self, attention: dict, position: AttentionPosition | None) -> None:
        self.self_attention = MultiHeadAttention(**attention, position=position, name="self_attention")
        self.self_attention_norm = self._norm("self_attention_norm")
        self.cross_attention: MultiHeadAttention | None = None
        self.cross_attention_norm: Any = None
        if self._crosses:
            self.cross_attention = MultiHeadAttention(**attention, name="cross_attention")
            self.cross_attention_norm = self._norm("cross_attention_norm")

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
        return {**super().get_config(), "cross_attention": self.cross_attention is not None}
