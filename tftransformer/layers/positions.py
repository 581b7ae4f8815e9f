"""Positions that are added to the embeddings: learned and sinusoidal."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.errors import TransformerError
from tftransformer.layers.configured import ConfiguredLayer
from tftransformer.layers.projection import initializer_or_normal
from tftransformer.layers.slots import SlottedLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class LearnedPosition(SlottedLayer):
    """Adds a learned vector for each position, as BERT does. It cannot extrapolate past its table.

    Args:
        sequence_length: Longest input; the table has as many rows, and `skipped_rows` before them.
        skipped_rows: Number of rows at the start of the table that belong to no position (RoBERTa's tables have 2).
        initializer: Initializer of the table; BERT's truncated normal distribution of deviation 0.02 by default.

    Call arguments:
        x: Tensor (B, T, D) with T up to `sequence_length`.
        offset: Position of the first token.
        position_ids: Position (B, T) of each token, for rows that hold several texts; `offset` is then unused.

    Shapes: (B, T, D) -> (B, T, D).

    Raises:
        TransformerError: The input is longer than the table. Inside a compiled TensorFlow graph with unknown
            lengths, where no Python runs, the slice of the table fails instead (`InvalidArgumentError`), on
            every device. Under JAX an `offset` past the table cannot be noticed.

    Example:
        >>> LearnedPosition(512)(keras.ops.zeros((2, 7, 16))).shape
        TensorShape([2, 7, 16])
    """

    arguments = ("sequence_length", "skipped_rows", "initializer")

    def __init__(self, sequence_length: int, skipped_rows: int = 0, initializer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sequence_length = sequence_length
        self.skipped_rows = skipped_rows
        self.initializer = initializer_or_normal(initializer)
        self.supports_masking = True

    def build(self, x_shape: tuple, **_: Any) -> None:
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.skipped_rows + self.sequence_length, x_shape[-1]),
            initializer=self.initializer,
        )

    def call(self, x: Any, offset: Any = 0, position_ids: Any = None) -> Any:
        if position_ids is not None:
            rows = ops.take(self.embeddings, position_ids + self.skipped_rows, axis=0)
            return x + ops.cast(rows, x.dtype)
        known = sum(length for length in (x.shape[1], offset) if isinstance(length, int))
        if known > self.sequence_length:
            raise TransformerError(
                f"the input may be at most {self.sequence_length} positions long, the rows of the learned position "
                f"table; got {known}"
            )
        # A slice, not a lookup: past the end a lookup gives zeros on GPUs, a slice an error everywhere.
        table = ops.convert_to_tensor(self.embeddings)
        rows = ops.slice(table, (offset + self.skipped_rows, 0), (ops.shape(x)[1], x.shape[2]))
        return x + ops.cast(rows, x.dtype)

    def compute_output_shape(self, x_shape: tuple, **_: Any) -> tuple:
        return x_shape


@keras.saving.register_keras_serializable(package="tftransformer")
class SinusoidalPosition(ConfiguredLayer):
    """Adds sines and cosines of the position (Vaswani et al. 2017). Defined for every length.

    Channel 2i holds sin(t / period^(2i/D)), channel 2i+1 the cosine of the same angle.

    Args:
        period: Longest wavelength divided by 2 pi; 10000 in the paper.
        interleaved: Whether sines and cosines take turns, as in the paper; else all sines come first, in the lower half
            of the channels, as in fairseq and Marian. Weights trained with one need that one.

    Call arguments: x, offset and position_ids as for `LearnedPosition`.

    Shapes: (B, T, D) -> (B, T, D).

    Example:
        >>> SinusoidalPosition()(keras.ops.zeros((1, 3, 4)))[0, 0].numpy().tolist()
        [0.0, 1.0, 0.0, 1.0]
    """

    arguments = ("period", "interleaved")

    def __init__(self, period: float = 10000.0, interleaved: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.period = period
        self.interleaved = interleaved
        self.supports_masking = True

    def call(self, x: Any, offset: Any = 0, position_ids: Any = None) -> Any:
        width = x.shape[-1]
        channels, half = np.arange(width), (width + 1) // 2
        is_sine = channels % 2 == 0 if self.interleaved else channels < half
        number = channels // 2 if self.interleaved else channels % half
        rates = np.exp(-math.log(self.period) * (number * 2) / width).astype("float32")
        if position_ids is None:
            steps = ops.arange(ops.shape(x)[1], dtype="float32") + ops.cast(offset, "float32")
        else:
            steps = ops.cast(position_ids, "float32")
        angles = ops.expand_dims(steps, -1) * rates
        return x + ops.cast(ops.where(is_sine, ops.sin(angles), ops.cos(angles)), x.dtype)

    def compute_output_shape(self, x_shape: tuple, **_: Any) -> tuple:
        return x_shape
