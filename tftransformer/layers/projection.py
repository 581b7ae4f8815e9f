"""The dense projection that every block uses: one matrix product over all B*T rows."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.layers.configured import ConfiguredLayer
from tftransformer.layers.slots import SlottedLayer


def initializer_or_normal(given: Any = None) -> keras.initializers.Initializer:
    """Return the initializer that was given, else BERT's truncated normal distribution of deviation 0.02."""
    return keras.initializers.get(given or keras.initializers.TruncatedNormal(stddev=0.02))


class ProjectionDelta(ConfiguredLayer):
    """Part of a projection that changes its output: the base of LoRA's, DoRA's and IA3's parts.

    Args:
        units: Width of the projection's output.
        merged: Whether the kernel holds the change already; then the projection is left alone.

    Attributes:
        adds: Whether the change is added to the output: this layer's output on the same input; `fold` then adds a term
            to the kernel that can be subtracted again.
        changes_input: Whether `change_input` does anything.
    """

    arguments: tuple[str, ...] = ("units", "merged")

    adds = False
    changes_input = False

    def __init__(self, units: int, merged: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.merged = merged

    def start(self, projection: "Projection") -> None:
        """Take from a built projection what the change begins with."""

    def change_input(self, x: Any, training: bool | None = None) -> Any:
        """Return the input that the projection multiplies, (..., in), in place of x."""
        return x

    def change(self, x: Any, y: Any, projection: "Projection", training: bool | None = None) -> Any:
        """Return the output of the projection, (..., units), in place of y = x W + b."""
        raise NotImplementedError

    def fold(self, kernel: np.ndarray, bias: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """Kernel (in, units) and bias of the plain projection that gives the same, in float64."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the constructor's arguments except `units` and those of every layer, as JSON values."""
        common = {*keras.layers.Layer.get_config(self), "units"}
        return {name: value for name, value in self.get_config().items() if name not in common}


@keras.saving.register_keras_serializable(package="tftransformer")
class Projection(SlottedLayer):
    """`y = x W + b` on the last axis.

    The same function as `keras.layers.Dense` without an activation. The rows are flattened first, so that
    the product is one (B*T, in) x (in, out) matrix product, which the CPU libraries run faster than a batch
    of B small ones.

    Args:
        units: Width of the output.
        use_bias: Whether there is a bias.
        kernel_initializer: Initializer of the (in, units) kernel.

    Attributes:
        delta: A `ProjectionDelta`, such as `LowRankDelta`; None where there is none. `slots.attach` puts it in.

    Shapes: (..., in) -> (..., units).

    Example:
        >>> Projection(5)(keras.ops.ones((2, 3, 4))).shape
        TensorShape([2, 3, 5])
    """

    arguments = ("units", "use_bias", "kernel_initializer")

    slots = ("delta",)

    def __init__(
        self, units: int, *, use_bias: bool = True, kernel_initializer: Any = "glorot_uniform", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        # A copy: the layers of a block are given one initializer, and one object draws the same numbers twice.
        self.kernel_initializer = keras.initializers.get(kernel_initializer).clone()
        self.delta: ProjectionDelta | None = None
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self.kernel = self.add_weight(
            name="kernel", shape=(input_shape[-1], self.units), initializer=self.kernel_initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None

    def call(self, x: Any, training: bool | None = None) -> Any:
        change = self.active_change
        if change is None:
            return _project(x, self.kernel, self.bias, self.units)
        if change.changes_input:
            x = change.change_input(x, training)
        return change.change(x, _project(x, self.kernel, self.bias, self.units), self, training)

    @property
    def active_change(self) -> ProjectionDelta | None:
        """The change that is not part of the kernel."""
        return None if self.delta is None or self.delta.merged else self.delta

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return (*input_shape[:-1], self.units)


def build_projection(layer: Any, name: str, units: int, input_shape: tuple, use_bias: bool | None = None) -> Projection:
    """A built projection inside a layer, with its `use_bias` (unless another is given), `kernel_initializer` and dtype policy."""
    use_bias = layer.use_bias if use_bias is None else use_bias
    options = {"use_bias": use_bias, "kernel_initializer": layer.kernel_initializer, "dtype": layer.dtype_policy}
    projection = Projection(units, **options, name=name)
    projection.build(input_shape)
    return projection


def project_together(x: Any, projections: Sequence[Projection], training: bool | None = None) -> Any:
    """Return the outputs of built projections of one input, side by side, from a single matrix product.

    One large product runs faster than several small ones and reads x once, also in the backward pass. The weights
    stay the projections' own.

    Returns:
        (..., sum of the units).

    Example:
        >>> parts = [Projection(2), Projection(3)]
        >>> for part in parts:
        ...     part.build((None, 4))
        >>> project_together(keras.ops.ones((1, 4)), parts).shape
        TensorShape([1, 5])
    """
    if any(p.active_change is not None and p.active_change.changes_input for p in projections):
        return ops.concatenate([projection(x, training=training) for projection in projections], axis=-1)
    kernel = ops.concatenate([projection.kernel for projection in projections], axis=-1)
    biased = projections[0].bias is not None
    bias = ops.concatenate([projection.bias for projection in projections], axis=-1) if biased else None
    y = _project(x, kernel, bias, sum(projection.units for projection in projections))
    changes = [projection.active_change for projection in projections]
    if not any(changes):
        return y
    if all(change is None or change.adds for change in changes):
        terms = [
            ops.zeros((*ops.shape(x)[:-1], projection.units), y.dtype)
            if change is None
            else change(x, training=training)
            for projection, change in zip(projections, changes)
        ]
        return y + ops.concatenate(terms, axis=-1)
    ends = list(itertools.accumulate(projection.units for projection in projections))[:-1]
    parts = [
        part if change is None else change.change(x, part, projection, training)
        for part, projection, change in zip(ops.split(y, ends, axis=-1), projections, changes)
    ]
    return ops.concatenate(parts, axis=-1)


def _project(x: Any, kernel: Any, bias: Any, units: int) -> Any:
    leading = ops.shape(x)[:-1]
    y = ops.matmul(ops.reshape(x, (-1, x.shape[-1])), kernel)
    if bias is not None:
        y = ops.add(y, bias)
    return ops.reshape(y, (*leading, units)) if len(leading) != 1 else y
