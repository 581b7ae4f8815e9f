"""Positions inside the attention: parts that an attention layer asks while it computes its scores.

Rotary (Su et al. 2021, arXiv 2104.09864) turns queries and keys; Shaw et al. 2018 (arXiv 1803.02155) add
learned vectors for relative offsets. Schemes that only add a bias to the scores are in position_biases.py.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.errors import TransformerError, check_whole
from tftransformer.layers.configured import ConfiguredLayer


class AttentionPosition(ConfiguredLayer):
    """Interface of the `position` part of an attention layer; here nothing is added.

    A part is built by the attention layer, with the shape (B, N, T, H) of its queries. Its default name is
    `position`, so that addresses do not depend on how many parts a process has made.
    """

    def __init__(self, name: str = "position", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def rotate(self, x: Any, offset: Any = 0) -> Any:
        """Queries or keys (B, N, T, H) with their positions, `offset` to `offset + T - 1`, worked in."""
        return x

    def score_bias(self, query: Any, key_length: Any, offset: Any = 0) -> Any:
        """Return the term to add to the scaled scores of (B, N, T, H) queries, (B, N, T, S), or None."""
        return None

    def value_bias(self, scores: Any, offset: Any = 0) -> Any:
        """Return the term to add to the weighted values, (B, N, T, H), given the (B, N, T, S) scores, or None."""
        return None


@keras.saving.register_keras_serializable(package="tftransformer")
class RotaryPosition(AttentionPosition):
    """Turns pairs of channels by angles that grow with the position (RoPE, Su et al. 2021).

    The product of a turned query and a turned key depends on their distance alone. Defined for every
    length, without weights, so nothing fails past the trained length; how well attention works there is
    another matter (Press et al. 2021 measured that plain rotary models degrade soon).

    Args:
        period: Longest wavelength divided by 2 pi; 10000 in the paper.
        scaling: Llama 3.1's stretching for texts longer than those of the pretraining: (factor, low, high, length). Angles
            whose wavelength is more than length/low are divided by the factor, those below length/high stay, and
            between the two lies a blend. None: angles as in the paper.
        interleaved: Whether channels 2i and 2i + 1 make a pair, as in the paper; else i and i + H/2
            ("half-rotation", as in GPT-NeoX and LLaMA). Both are the same function up to a fixed order of
            the channels; weights trained with one need that one.

    Raises:
        TransformerError: The head width is odd.

    Example:
        >>> attention = MultiHeadAttention(num_heads=2, position=RotaryPosition())
        >>> attention(keras.ops.ones((1, 3, 8))).shape
        TensorShape([1, 3, 8])
    """

    arguments = ("period", "interleaved", "scaling")

    def __init__(
        self,
        period: float = 10000.0,
        interleaved: bool = False,
        scaling: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.interleaved = interleaved
        self.scaling = None if scaling is None else tuple(scaling)

    def build(self, query_shape: tuple) -> None:
        if query_shape[-1] % 2:
            raise TransformerError(f"head_dim must be even for rotary positions; got {query_shape[-1]}")

    def rotate(self, x: Any, offset: Any = 0) -> Any:
        """(B, N, T, H) turned by the angles of positions `offset` to `offset + T - 1`."""
        half = x.shape[-1] // 2
        rates = self._rates(half)
        # Angles in float32 also under half precision, whose numbers near 500 are whole radians apart.
        steps = ops.arange(ops.shape(x)[2], dtype="float32") + ops.cast(offset, "float32")
        angles = ops.expand_dims(steps, 1) * rates
        cos, sin = ops.cos(angles), ops.sin(angles)
        wide = ops.cast(x, "float32")
        if self.interleaved:
            first, second = wide[..., 0::2], wide[..., 1::2]
        else:
            first, second = wide[..., :half], wide[..., half:]
        turned = (first * cos - second * sin, second * cos + first * sin)
        if self.interleaved:
            y = ops.reshape(ops.stack(turned, axis=-1), ops.shape(x))
        else:
            y = ops.concatenate(turned, axis=-1)
        return ops.cast(y, x.dtype)

    def _rates(self, count: int) -> np.ndarray:
        """The angle from one position to the next, of each of the pairs of channels."""
        rates = np.exp(-math.log(self.period) * np.arange(count) / count)
        if self.scaling is not None:
            factor, low, high, length = self.scaling
            kept = np.clip((length * rates / (2 * np.pi) - low) / (high - low), 0.0, 1.0)
            rates = rates * (kept + (1.0 - kept) / factor)
        return rates.astype("float32")


@keras.saving.register_keras_serializable(package="tftransformer")
class RelativePosition(AttentionPosition):
    """A learned vector for each offset between query and key, clipped at a distance (Shaw et al. 2018).

    Score (i, j) is q_i . (k_j + a_(j-i)) / sqrt(H), and output i gets the score-weighted mean of the
    b_(j-i) added; a and b are shared by all heads. Offsets past `max_distance` count as `max_distance`, so
    every length is defined and long ones see one vector for all that is far away.

    Args:
        max_distance: Largest offset in either direction with a vector of its own; 16 as in the paper.
        values: Whether there are the vectors b on the values; those on the keys alone did as well in the
            paper's translations.
        initializer: Initializer of both tables, (2 * max_distance + 1, H).

    Example:
        >>> attention = MultiHeadAttention(num_heads=2, position=RelativePosition(max_distance=4))
        >>> attention(keras.ops.ones((1, 3, 8))).shape
        TensorShape([1, 3, 8])
    """

    arguments = ("max_distance", "values", "initializer")

    def __init__(
        self, max_distance: int = 16, values: bool = True, initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_whole("max_distance", max_distance)
        self.max_distance = max_distance
        self.values = values
        self.initializer = keras.initializers.get(initializer)

    def build(self, query_shape: tuple) -> None:
        shape = (2 * self.max_distance + 1, query_shape[-1])
        self.keys = self.add_weight(name="keys", shape=shape, initializer=self.initializer.clone())
        self.value_table = None
        if self.values:
            self.value_table = self.add_weight(name="values", shape=shape, initializer=self.initializer.clone())

    def score_bias(self, query: Any, key_length: Any, offset: Any = 0) -> Any:
        """q_i . a_(j-i) / sqrt(H): (B, N, T, S) for queries (B, N, T, H)."""
        rows = self._rows(self.keys, ops.shape(query)[2], key_length, offset, query.dtype)
        return ops.einsum("bnth,tsh->bnts", query * (1.0 / math.sqrt(query.shape[-1])), rows)

    def value_bias(self, scores: Any, offset: Any = 0) -> Any:
        """Sum over j of score (i, j) times b_(j-i): (B, N, T, H)."""
        if self.value_table is None:
            return None
        length, key_length = ops.shape(scores)[2], ops.shape(scores)[3]
        rows = self._rows(self.value_table, length, key_length, offset, scores.dtype)
        return ops.einsum("bnts,tsh->bnth", scores, rows)

    def _rows(self, table: Any, length: Any, key_length: Any, offset: Any, dtype: Any) -> Any:
        """(T, S, H): the table's row for each pair of query and key."""
        distance = ops.clip(relative_offsets(length, key_length, offset), -self.max_distance, self.max_distance)
        return ops.cast(ops.take(table, distance + self.max_distance, axis=0), dtype)


def position_from_config(config: dict | None) -> AttentionPosition | None:
    """The part that `get_config` of a layer stored under `position`."""
    if config is None:
        return None
    # Not built yet, as Keras would: built on its own its weights would not carry the block's name.
    config = {key: value for key, value in config.items() if key != "build_config"}
    return keras.saving.deserialize_keras_object(config)


def relative_offsets(query_length: Any, key_length: Any, offset: Any = 0) -> Any:
    """(T, S) integers j - (offset + i): how far key j stands behind query i.

    Example:
        >>> relative_offsets(2, 3).numpy().tolist()
        [[0, 1, 2], [-1, 0, 1]]
    """
    queries = ops.arange(query_length, dtype="int32") + ops.cast(offset, "int32")
    keys = ops.arange(key_length, dtype="int32")
    return ops.expand_dims(keys, 0) - ops.expand_dims(queries, 1)
