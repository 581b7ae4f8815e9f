"""DoRA: LoRA on the direction of each kernel, whose magnitude trains separately (Liu et al. 2024, arXiv 2402.09353)."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.finetuning.methods.lora import LoRA
from tftransformer.layers.low_rank import LowRankDelta


@dataclass(frozen=True)
class DoRA(LoRA):
    """`W' = m (W + BA) / ||W + BA||`, column by column: LoRA learns the direction, `m` the magnitude.

    Settings, names and errors are `LoRA`'s; the new weights lie at `{target}/dora/down`, `up` and `magnitude`. It costs a
    norm of each changed kernel a step. As in the paper's 4.3, no gradient flows through that norm.

    Example:
        >>> str(DoRA(rank=4))
        'dora:4'
    """

    name = "dora"
    about = "as lora, with a magnitude for each column that trains separately"
    inserted = (".*/dora/(down|up|magnitude)",)

    @classmethod
    def part(cls) -> type:
        return WeightDecomposedDelta


@keras.saving.register_keras_serializable(package="tftransformer")
class WeightDecomposedDelta(LowRankDelta):
    """Change of a projection's output by DoRA. Arguments are `LowRankDelta`'s."""

    adds = False

    def build(self, input_shape: tuple) -> None:
        super().build(input_shape)
        self.magnitude = self.add_weight(name="magnitude", shape=(self.units,), initializer="ones")

    def start(self, projection: Any) -> None:
        kernel = ops.convert_to_numpy(projection.kernel).astype("float64")
        self.magnitude.assign(np.sqrt(np.square(kernel).sum(axis=0)))

    def change(self, x: Any, y: Any, projection: Any, training: bool | None = None) -> Any:
        kernel = ops.cast(projection.kernel, "float32")
        low_rank = ops.matmul(ops.cast(self.down, "float32"), ops.cast(self.up, "float32"))
        norm = ops.sqrt(ops.sum(ops.square(kernel + self.scale * low_rank), axis=0))
        factor = ops.cast(self.magnitude, "float32") / ops.stop_gradient(norm)
        factor = ops.cast(factor, y.dtype)
        if projection.bias is None:
            return factor * (y + self(x, training=training))
        bias = ops.cast(projection.bias, y.dtype)
        return factor * (y - bias + self(x, training=training)) + bias

    def fold(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        kernel, _ = super().fold(kernel, bias)
        magnitude = ops.convert_to_numpy(self.magnitude).astype("float64")
        return kernel * magnitude / np.sqrt(np.square(kernel).sum(axis=0)), bias
