"""IA3: train one factor for each key, value and inner feed-forward channel (Liu et al. 2022, arXiv 2205.05638)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import hold_patterns, selected_parts
from tftransformer.finetuning.methods.targeted import ProjectionMethod
from tftransformer.layers.projection import Projection, ProjectionDelta


@dataclass(frozen=True)
class IA3(ProjectionMethod):
    """Rescale keys, values and what enters the second product of each feed-forward layer; all else but the head is frozen.

    The factors start as 1, so that the model computes the same as before until it is trained, and lie at
    `{target}/ia3/scale`: a few hundred a block, the fewest weights of all methods.

    Args:
        outputs: Regular expressions of the addresses of projections whose output is rescaled.
        inputs: Regular expressions of those whose input is.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Raises:
        TransformerError: On `apply`: a pattern that matches nothing, a target that is changed already.

    Example:
        >>> str(IA3())
        'ia3'
    """

    outputs: str | Iterable[str] = r".*attention/(key|value)"
    inputs: str | Iterable[str] = ".*feed_forward/output"
    train: str | Iterable[str] | None = None

    name = "ia3"
    about = "a factor for each key, value and inner feed-forward channel"
    rate = 3e-3  # the paper's, 3.1; not tuned here
    inserted = (".*/ia3/scale",)

    def __post_init__(self) -> None:
        hold_patterns(self, "outputs", "inputs", "train")

    @classmethod
    def part(cls) -> type:
        return Rescaling

    def chosen(self, model: Model) -> dict[str, tuple[Projection, dict[str, Any]]]:
        found: dict[str, tuple[Projection, dict[str, Any]]] = {}
        for argument, on_input in (("outputs", False), ("inputs", True)):
            parts = selected_parts(model, Projection, getattr(self, argument), argument)
            found |= {target: (part, {"on_input": on_input}) for target, part in parts.items()}
        return found


@keras.saving.register_keras_serializable(package="tftransformer")
class Rescaling(ProjectionDelta):
    """A factor for each channel of a projection's input or output.

    Args:
        units: Width of the output.
        on_input: Whether the input is rescaled instead.
    """

    arguments = ("on_input",)

    def __init__(self, units: int, on_input: bool = False, merged: bool = False, **kwargs: Any) -> None:
        super().__init__(units, merged, **kwargs)
        self.on_input = self.changes_input = on_input

    def build(self, input_shape: tuple) -> None:
        width = input_shape[-1] if self.on_input else self.units
        self.scale = self.add_weight(name="scale", shape=(width,), initializer="ones")

    def change_input(self, x: Any, training: bool | None = None) -> Any:
        return x * ops.cast(self.scale, x.dtype)

    def change(self, x: Any, y: Any, projection: Projection, training: bool | None = None) -> Any:
        return y if self.on_input else y * ops.cast(self.scale, y.dtype)

    def fold(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        scale = ops.convert_to_numpy(self.scale).astype("float64")
        if self.on_input:
            return kernel * scale[:, None], bias
        return kernel * scale, None if bias is None else bias * scale
