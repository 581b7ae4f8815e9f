"""The change that LoRA adds to a projection: a product of two narrow matrices (Hu et al. 2021, arXiv 2106.09685)."""

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.layers.dropout import Dropout
from tftransformer.layers.projection import ProjectionDelta


@keras.saving.register_keras_serializable(package="tftransformer")
class LowRankDelta(ProjectionDelta):
    """`scale * dropout(x) A B`, which starts as zero and joins the kernel of the projection it belongs to.

    Args:
        units: Width of the output.
        rank: Width between A and B.
        alpha: Numerator of the scale alpha / rank, so that another rank needs no other learning rate. None: `rank`.
        dropout: Dropout rate on the input (0 to 1).
        merged: Whether the kernel holds the change already; then the projection does not add it.

    Shapes: (..., in) -> (..., units).

    Example:
        >>> float(keras.ops.sum(LowRankDelta(5, rank=2)(keras.ops.ones((2, 3, 4)))))
        0.0
    """

    adds = True

    def __init__(
        self,
        units: int,
        rank: int,
        alpha: float | None = None,
        dropout: float = 0.0,
        merged: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(units, merged, **kwargs)
        self.rank = rank
        self.alpha = float(rank if alpha is None else alpha)
        self.input_dropout = Dropout(dropout, dtype=self.dtype_policy, name="dropout")

    @property
    def scale(self) -> float:
        """alpha / rank."""
        return self.alpha / self.rank

    def build(self, input_shape: tuple) -> None:
        # The range that the reference implementation draws from; B is zero, so that nothing changes at first.
        limit = 1.0 / math.sqrt(input_shape[-1])
        self.down = self.add_weight(
            name="down", shape=(input_shape[-1], self.rank), initializer=keras.initializers.RandomUniform(-limit, limit)
        )
        self.up = self.add_weight(name="up", shape=(self.rank, self.units), initializer="zeros")

    def call(self, x: Any, training: bool | None = None) -> Any:
        x = self.input_dropout(x, training=training)
        return ops.matmul(ops.matmul(x, self.down), self.up) * ops.cast(self.scale, self.compute_dtype)

    def change(self, x: Any, y: Any, projection: Any, training: bool | None = None) -> Any:
        return y + self(x, training=training)

    def fold(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        down, up = (ops.convert_to_numpy(weight).astype("float64") for weight in (self.down, self.up))
        return kernel + self.scale * (down @ up), bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict:
        return {**super().get_config(), "rank": self.rank, "alpha": self.alpha, "dropout": self.input_dropout.rate}
