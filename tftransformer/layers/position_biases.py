"""Positions as a bias on the attention scores: T5's learned buckets and ALiBi's slopes.

Both give a (1, N, T, S) bias that a model computes once and hands to every block as `attention_bias`.
"""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.errors import TransformerError, check_whole
from tftransformer.layers.projection import initializer_or_normal
from tftransformer.layers.relative_positions import relative_offsets
from tftransformer.layers.slots import SlottedLayer


def bucket_table(num_buckets: int, max_distance: int) -> np.ndarray:
    """The bucket of each distance 0 to `max_distance`, as T5 sorts them (Raffel et al. 2020, arXiv 1910.10683).

    Half the buckets hold one distance each, the others grow logarithmically, and the last takes all from
    `max_distance` on. As a table made once, buckets are the same on every backend and device.

    Returns:
        int32 array of length `max_distance + 1`.

    Example:
        >>> bucket_table(8, 16)[[0, 3, 4, 8, 16]].tolist()
        [0, 3, 4, 6, 7]
    """
    exact = num_buckets // 2
    distances = np.arange(max_distance + 1)
    # float32, as in the published models: on the edges of buckets rounding decides.
    ratio = np.log(np.maximum(distances, 1).astype("float32") / np.float32(exact))
    grown = ratio / np.float32(math.log(max_distance / exact)) * np.float32(num_buckets - exact)
    grown = np.minimum(exact + grown.astype("int64"), num_buckets - 1)
    return np.where(distances < exact, distances, grown).astype("int32")


def relative_buckets(offsets: Any, num_buckets: int = 32, max_distance: int = 128, bidirectional: bool = True) -> Any:
    """The bucket of each relative offset (key position minus query position).

    Args:
        offsets: Integers of any shape.
        num_buckets: Number of buckets in all.
        max_distance: Distance from which on all are in the last bucket.
        bidirectional: Whether half the buckets are for keys behind the query, half for those before it. False:
            all buckets are for earlier keys; later ones, which a causal mask hides, are in bucket 0.

    Returns:
        int32 tensor of the shape of `offsets`.

    Example:
        >>> relative_buckets(keras.ops.array([-1, 0, 1])).numpy().tolist()
        [1, 0, 17]
    """
    offsets = ops.cast(offsets, "int32")
    side = num_buckets // 2 if bidirectional else num_buckets
    distance = ops.abs(offsets) if bidirectional else ops.maximum(-offsets, 0)
    table = ops.convert_to_tensor(bucket_table(side, max_distance))
    bucket = ops.take(table, ops.minimum(distance, max_distance), axis=0)
    return bucket + ops.where(offsets > 0, side, 0) if bidirectional else bucket


def alibi_slopes(num_heads: int) -> np.ndarray:
    """The slope of each head (Press et al. 2021, arXiv 2108.12409): 2^(-8n/N) for n = 1 ... N.

    Where N is no power of two: the slopes of the next lower power P, then every other slope of 2P, as in
    the paper's own code.

    Returns:
        float32 array (N,).

    Example:
        >>> alibi_slopes(2).tolist(), alibi_slopes(3).tolist()
        ([0.0625, 0.00390625], [0.0625, 0.00390625, 0.25])
    """
    power = 2 ** int(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * n / power) for n in range(1, power + 1)]
    slopes += [2.0 ** (-4.0 * n / power) for n in range(1, 2 * power + 1, 2)][: num_heads - power]
    return np.array(slopes, "float32")


class PositionBias(SlottedLayer):
    """A layer that turns the lengths of queries and keys into a bias; `bias` says which.

    Args:
        num_heads: N.

    Call arguments:
        x: Any (B, T, ...) tensor with the queries' length, such as the token ids.
        key_length: S. None: T.
        offset: Position of the first query among the keys: the number of keys already in a cache.

    Returns:
        (1, N, T, S), for `attention_bias`.
    """

    arguments: tuple[str, ...] = ("num_heads",)

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_whole("num_heads", num_heads)
        self.num_heads = num_heads

    @classmethod
    def for_stack(cls, num_heads: int, bidirectional: bool, **kwargs: Any) -> "PositionBias":
        """The layer for an encoder (`bidirectional`) or a decoder; most schemes do not tell them apart."""
        return cls(num_heads, **kwargs)

    def bias(self, offsets: Any) -> Any:
        """(N, T, S) for the (T, S) integer offsets of keys against queries."""
        raise NotImplementedError

    def call(self, x: Any, key_length: Any = None, offset: Any = 0) -> Any:
        length = ops.shape(x)[1]
        offsets = relative_offsets(length, length if key_length is None else key_length, offset)
        return ops.expand_dims(ops.cast(self.bias(offsets), self.compute_dtype), 0)

    def compute_output_spec(self, x: Any, key_length: Any = None, offset: Any = 0) -> Any:
        keys = x.shape[1] if key_length is None else key_length
        return keras.KerasTensor((1, self.num_heads, x.shape[1], keys), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="tftransformer")
class ALiBi(PositionBias):
    """Minus the distance times a slope for each head: attention with linear biases (Press et al. 2021).

    It has no weights and was made to extrapolate: it is defined for every length, and the paper trains on
    1024 tokens and evaluates on longer texts without loss. In both directions it uses the absolute
    distance. Arguments and shapes are `PositionBias`'s.

    Example:
        >>> bias = ALiBi(num_heads=1)(keras.ops.ones((4, 3)))
        >>> (bias[0, 0] * 256).numpy().tolist()
        [[-0.0, -1.0, -2.0], [-1.0, -0.0, -1.0], [-2.0, -1.0, -0.0]]
    """

    def bias(self, offsets: Any) -> Any:
        distance = ops.cast(ops.abs(offsets), "float32")
        return -distance * ops.reshape(ops.convert_to_tensor(alibi_slopes(self.num_heads)), (-1, 1, 1))


@keras.saving.register_keras_serializable(package="tftransformer")
class RelativePositionBuckets(PositionBias):
    """A learned bias for each head and bucket of offsets (T5, Raffel et al. 2020, arXiv 1910.10683).

    All distances from `max_distance` on share one bucket, so every length is defined; T5 itself was trained
    at 512. Call arguments and shapes are `PositionBias`'s.

    Args:
        num_heads: N.
        num_buckets: Number of buckets, 32 in T5; even if `bidirectional`.
        max_distance: Distance from which on all are in the last bucket, 128 in T5.
        bidirectional: Whether later keys need buckets, as in encoders; False for causal decoders.
        initializer: Initializer of the (num_buckets, N) table; a truncated normal distribution of deviation 0.02 by
            default.

    Raises:
        TransformerError: Buckets and distances that leave no room for the logarithmic half.

    Example:
        >>> RelativePositionBuckets(num_heads=4)(keras.ops.ones((2, 7))).shape
        TensorShape([1, 4, 7, 7])
    """

    arguments = ("num_buckets", "max_distance", "bidirectional", "initializer")

    def __init__(
        self,
        num_heads: int,
        num_buckets: int = 32,
        max_distance: int = 128,
        bidirectional: bool = True,
        initializer: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_heads, **kwargs)
        side = num_buckets // 2 if bidirectional else num_buckets
        if side < 2 or (bidirectional and num_buckets % 2):
            rule = "an even number of 4 or more where bidirectional, else 2 or more"
            raise TransformerError(f"num_buckets must be {rule}; got {num_buckets!r}")
        if max_distance <= side // 2:
            raise TransformerError(
                f"max_distance must be above {side // 2}, the distances with a bucket of their own; got {max_distance!r}"
            )
        self.num_buckets = num_buckets
        self.max_distance = max_distance
        self.bidirectional = bidirectional
        self.initializer = initializer_or_normal(initializer)

    @classmethod
    def for_stack(cls, num_heads: int, bidirectional: bool, **kwargs: Any) -> "RelativePositionBuckets":
        return cls(num_heads, bidirectional=bidirectional, **kwargs)

    def build(self, x_shape: tuple) -> None:
        self.embeddings = self.add_weight(
            name="embeddings", shape=(self.num_buckets, self.num_heads), initializer=self.initializer
        )

    def bias(self, offsets: Any) -> Any:
        buckets = relative_buckets(offsets, self.num_buckets, self.max_distance, self.bidirectional)
        return ops.transpose(ops.take(self.embeddings, buckets, axis=0), (2, 0, 1))
