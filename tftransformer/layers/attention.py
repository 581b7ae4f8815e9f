"""Multi-head attention, softmax(QK^T/sqrt(H)) V, after Vaswani et al. 2017 (arXiv 1706.03762)."""

import math
from typing import Any

import keras
from keras import ops

from tftransformer.errors import TransformerError, check_whole
from tftransformer.layers.attention_prefix import AttentionPrefix
from tftransformer.layers.dropout import Dropout
from tftransformer.layers.masking import causal_mask, merge_masks, merge_padding
from tftransformer.layers.projection import build_projection, project_together
from tftransformer.layers.relative_positions import AttentionPosition, position_from_config
from tftransformer.layers.slots import SlottedLayer
from tftransformer.layers.taps import tap


def _softmax_of_products(query: Any, key: Any, bias: Any = None, scale: bool = True) -> Any:
    """softmax(QK^T/sqrt(H) + bias), or without the division, of (B, N, T, H) and (B, K, S, H), where head n of the query uses head n*K//N of the key.

    The softmax runs in float32 whatever the inputs, as in the autocast modes of the large frameworks: in half
    precision sums over long rows lose too much.
    """
    _, heads, _, width = query.shape
    groups = heads // key.shape[1]
    length = ops.shape(query)[2]
    # Query heads that share a key head stand below each other as further rows of one product.
    rows = query if groups == 1 else ops.reshape(query, (-1, key.shape[1], groups * length, width))
    rows = rows * (1.0 / math.sqrt(width)) if scale else rows
    scores = ops.matmul(rows, ops.transpose(key, (0, 1, 3, 2)))
    if groups != 1:
        scores = ops.reshape(scores, (-1, heads, length, ops.shape(key)[2]))
    scores = ops.cast(scores, "float32")
    return ops.cast(ops.softmax(scores if bias is None else scores + bias, axis=-1), query.dtype)


def _as_bias(mask: Any, bias: Any) -> Any:
    """Mask and bias as one float32 term, broadcastable to (B, N, T, S); None where there is neither."""
    if bias is not None:
        bias = ops.cast(bias, "float32")
    if mask is None:
        return bias
    # A finite floor: with -inf a row without any key would be 0/0. It is small, and all blocks share it; a
    # choice between the floor and each score would be another pass over the (B, N, T, S) scores.
    floor = ops.where(ops.expand_dims(mask, 1), 0.0, -1e9)
    return floor if bias is None else floor + bias


def _zero_unless(x: Any, visible: Any) -> Any:
    """x where `visible`, else zero, in value and in gradient."""
    return ops.where(visible, x, ops.zeros((), x.dtype))


def weighted_values(scores: Any, value: Any) -> Any:
    """Sum of the values, (B, K, S, H), weighted by the scores, (B, N, T, S): (B, N, T, H)."""
    _, heads, _, _ = scores.shape
    groups = heads // value.shape[1]
    if groups == 1:
        return ops.matmul(scores, value)
    length, keys = ops.shape(scores)[2], ops.shape(scores)[3]
    rows = ops.reshape(scores, (-1, value.shape[1], groups * length, keys))
    return ops.reshape(ops.matmul(rows, value), (-1, heads, length, value.shape[-1]))


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiHeadAttention(SlottedLayer):
    """Self- and cross-attention with padding, causal and pair masks, grouped heads and a cache.

    Args:
        num_heads: N, the number of query heads.
        head_dim: H. None: width of the query divided by N.
        num_key_value_heads: K, the number of key and value heads, each shared by N/K query heads (grouped-query
            attention, Ainslie et al. 2023, arXiv 2305.13245). None: N.
        use_bias: Whether the four projections have biases.
        qkv_bias: Whether those of query, key and value have (Qwen2's have, and its output has not). None: `use_bias`.
        dropout: Dropout rate on the attention scores (0 to 1).
        position: Part that puts positions into the attention itself: `RotaryPosition` or
            `RelativePosition`; None for none. (A bias on the scores, such as `ALiBi`'s, comes in as `attention_bias`.)
        kernel_initializer: Initializer of the four kernels.
        scale: Whether the products are divided by sqrt(H); T5 leaves it to its weights (Raffel et al. 2020).

    Call arguments:
        query: Tensor (B, T, D).
        key: Tensor (B, S, D'). None: the query (self-attention).
        value: Tensor (B, S, D'). None: the key.
        padding_mask: Mask (B, S), 1 at real keys. A Keras mask that comes with the key (in self-attention: with the
            query) is merged in.
        attention_mask: Mask (B, T, S) or (T, S), 1 where the query may see the key.
        attention_bias: Term added to the scores before the softmax; broadcastable to (B, N, T, S).
        causal: Whether query t sees keys up to its own position only.
        cache: Pair of (B, K, S_max, H) tensors of keys and values from earlier calls (`empty_cache` makes one;
            `project_keys_and_values` one for a fixed memory in cross-attention).
        cache_index: Position of the first query: its keys and values are written into the cache from there
            on, and attention runs over the cache causally. None with a cache given: the cache is
            used as it is, and `key` and `value` are not looked at.
        return_attention_scores: Whether to return the scores, too, after the softmax and before dropout.

    Returns:
        (B, T, D). With `return_attention_scores` or `cache`, a tuple of it, the (B, N, T, S) scores if asked
        for, and the new cache if `cache_index` was given. A query that may see no key gets zeros, without the
        output bias, and contributes nothing to any gradient.

    Raises:
        TransformerError: `num_heads` and `num_key_value_heads` or the width do not divide.

    Example:
        >>> x = keras.random.normal((2, 7, 16))
        >>> y, scores = MultiHeadAttention(num_heads=4)(x, causal=True, return_attention_scores=True)
        >>> y.shape, scores.shape
        (TensorShape([2, 7, 16]), TensorShape([2, 4, 7, 7]))
    """

    arguments = (
        "num_heads",
        "head_dim",
        "num_key_value_heads",
        "use_bias",
        "qkv_bias",
        "dropout",
        "position",
        "kernel_initializer",
        "scale",
    )

    slots = ("prefix",)

    def __init__(
        self,
        num_heads: int,
        head_dim: int | None = None,
        num_key_value_heads: int | None = None,
        use_bias: bool = True,
        dropout: float = 0.0,
        position: AttentionPosition | None = None,
        kernel_initializer: Any = "glorot_uniform",
        scale: bool = True,
        qkv_bias: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.scale = scale
        self.qkv_bias = use_bias if qkv_bias is None else qkv_bias
        self.num_heads = num_heads
        self.head_dim: Any = head_dim  # a number once it is built
        self.num_key_value_heads = num_heads if num_key_value_heads is None else num_key_value_heads
        check_divides("num_heads", num_heads, "num_key_value_heads", self.num_key_value_heads)
        self.use_bias = use_bias
        self.dropout = dropout
        self.position = position
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.prefix: AttentionPrefix | None = None
        self.supports_masking = True

    def build(self, query_shape: tuple, key_shape: tuple | None = None, value_shape: tuple | None = None) -> None:
        width = query_shape[-1]
        if self.head_dim is None:
            check_divides("the width of the query", width, "num_heads", self.num_heads)
            self.head_dim = width // self.num_heads
        key_shape = key_shape or query_shape
        inner, shared = self.num_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        self.query_projection = build_projection(self, "query", inner, query_shape, self.qkv_bias)
        self.key_projection = build_projection(self, "key", shared, key_shape, self.qkv_bias)
        self.value_projection = build_projection(self, "value", shared, value_shape or key_shape, self.qkv_bias)
        self.output_projection = build_projection(self, "output", width, (*query_shape[:-1], inner))
        self.score_dropout = Dropout(self.dropout, dtype=self.dtype_policy, name="dropout")
        if self.position is not None and not self.position.built:
            self.position.build((None, self.num_heads, None, self.head_dim))

    def call(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        padding_mask: Any = None,
        attention_mask: Any = None,
        attention_bias: Any = None,
        causal: bool = False,
        cache: tuple | None = None,
        cache_index: Any = None,
        return_attention_scores: bool = False,
        mask: Any = None,
        query_mask: Any = None,
        key_mask: Any = None,
        training: bool | None = None,
    ) -> Any:
        # Keras hands over the mask on its inputs as `mask` where the query is the only tensor, else by name.
        incoming = merge_padding(mask, query_mask) if key is None and cache is None else key_mask
        padding_mask = merge_padding(padding_mask, incoming)
        offset = 0 if cache_index is None else cache_index
        if key is None and value is None and cache is None:
            q, k, v = self._project_all(query, training)
        else:
            q = self._rotate(self._split(self.query_projection(query), self.num_heads), offset)
            if cache is None or cache_index is not None:
                k, v = self.project_keys_and_values(query if key is None else key, value, offset)
                if cache is not None:
                    cache = (_write(cache[0], k, offset), _write(cache[1], v, offset))
                    k, v = cache
            else:
                k, v = cache
        steps = causal_mask(ops.shape(q)[2], ops.shape(k)[2], offset) if causal or cache_index is not None else None
        if self.position is not None:
            relative = self.position.score_bias(q, ops.shape(k)[2], offset)
            if relative is not None:
                attention_bias = relative if attention_bias is None else attention_bias + relative
        visible = merge_masks(padding_mask, attention_mask, steps)
        bias = _as_bias(visible, attention_bias)
        if self.prefix is not None:
            k, v = self.prefix(k, v)
            bias = None if bias is None else self.prefix.widen(bias)
        scores = tap("scores", _softmax_of_products(q, k, bias, self.scale))
        weights = self.score_dropout(scores, training=bool(training) and self.trainable)
        x = weighted_values(weights, v)
        if self.position is not None:
            own = weights if self.prefix is None else weights[..., self.prefix.length :]
            relative = self.position.value_bias(own, offset)
            x = x if relative is None else x + relative
        x = ops.transpose(tap("heads", x), (0, 2, 1, 3))
        x = ops.reshape(x, (-1, ops.shape(query)[1], self.num_heads * self.head_dim))
        x = self.output_projection(x)
        if padding_mask is not None or attention_mask is not None:
            # Causal masks alone leave every query a key. The scores of the others are read only where asked for.
            sees_any = ops.any(visible, axis=-1, keepdims=True)
            x, scores = _zero_unless(x, sees_any), _zero_unless(scores, ops.expand_dims(sees_any, 1))
        results = [x]
        if return_attention_scores:
            results.append(scores)
        if cache_index is not None:
            results.append(cache)
        return results[0] if len(results) == 1 else tuple(results)

    def _project_all(self, x: Any, training: bool | None) -> tuple[Any, Any, Any]:
        """Queries, keys and values of self-attention from one matrix product with the three kernels side by side."""
        heads, shared = self.num_heads, self.num_key_value_heads
        parts = (self.query_projection, self.key_projection, self.value_projection)
        joined = self._split(project_together(x, parts, training), heads + 2 * shared)
        q, k, v = ops.split(joined, (heads, heads + shared), axis=1)
        return self._rotate(q, 0), self._rotate(k, 0), v

    def project_keys_and_values(self, key: Any, value: Any = None, offset: Any = 0) -> tuple[Any, Any]:
        """Keys and values of a (B, S, D') memory, the first at position `offset`, as a cache: a pair of (B, K, S, H)."""
        k = self._rotate(self._split(self.key_projection(key), self.num_key_value_heads), offset)
        v = self._split(self.value_projection(key if value is None else value), self.num_key_value_heads)
        return k, v

    def empty_cache(self, batch_size: int, length: int) -> tuple[Any, Any]:
        """A cache of zeros for up to `length` positions: a pair of (B, K, length, H)."""
        shape = (batch_size, self.num_key_value_heads, length, self.head_dim)
        return ops.zeros(shape, self.compute_dtype), ops.zeros(shape, self.compute_dtype)

    def _rotate(self, x: Any, offset: Any) -> Any:
        return x if self.position is None else self.position.rotate(x, offset)

    def _split(self, x: Any, heads: int) -> Any:
        x = ops.reshape(x, (-1, ops.shape(x)[1], heads, self.head_dim))
        return ops.transpose(x, (0, 2, 1, 3))

    def compute_mask(self, query: Any, previous_mask: Any = None, **_: Any) -> Any:
        return previous_mask[0] if isinstance(previous_mask, (list, tuple)) else previous_mask

    @classmethod
    def from_config(cls, config: dict) -> "MultiHeadAttention":
        return cls(**{**config, "position": position_from_config(config.get("position"))})


def _write(cache: Any, new: Any, index: Any) -> Any:
    zero = ops.zeros((), "int32")
    return ops.slice_update(cache, (zero, zero, ops.cast(index, "int32"), zero), ops.cast(new, cache.dtype))


def check_divides(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """Raise a `TransformerError` unless both are positive integers and the divisor divides the value."""
    for label, number in ((name, value), (divisor_name, divisor)):
        check_whole(label, number)
    if value % divisor:
        raise TransformerError(f"{name} must be a multiple of {divisor_name}; got {value} and {divisor}")
