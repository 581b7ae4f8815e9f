"""Bottleneck adapters (Houlsby et al. 2019, arXiv 1902.00751), several of them in one place of a block.

An adapter stands behind a sublayer, before the residual connection: `x + adapter(sublayer(x))`, with
`adapter(y) = y + up(activation(down(y)))`. It starts near the identity.
"""

from collections.abc import Mapping
from typing import Any

import keras

from tftransformer.layers.projection import Projection
from tftransformer.layers.slots import attach, detach


@keras.saving.register_keras_serializable(package="tftransformer")
class Adapter(keras.layers.Layer):
    """`y + up(activation(down(y)))`.

    Args:
        bottleneck_dim: Width between the two projections.
        activation: Activation; any of Keras's.

    Shapes: (..., D) -> (..., D).

    Example:
        >>> Adapter(2)(keras.ops.ones((1, 3, 8))).shape
        TensorShape([1, 3, 8])
    """

    def __init__(self, bottleneck_dim: int, activation: str = "relu", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bottleneck_dim = bottleneck_dim
        self.activation = keras.activations.get(activation)
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        def projection(name: str, units: int, shape: tuple) -> Projection:
            # Narrow enough that the sum differs from its first part by little more than nothing.
            small = keras.initializers.TruncatedNormal(stddev=1e-3)
            layer = Projection(units, kernel_initializer=small, dtype=self.dtype_policy, name=name)
            layer.build(shape)
            return layer

        self.down = projection("down", self.bottleneck_dim, input_shape)
        self.up = projection("up", input_shape[-1], (*input_shape[:-1], self.bottleneck_dim))

    def call(self, x: Any) -> Any:
        return x + self.up(self.activation(self.down(x)))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "bottleneck_dim": self.bottleneck_dim,
            "activation": keras.activations.serialize(self.activation),
        }


@keras.saving.register_keras_serializable(package="tftransformer")
class AdapterBank(keras.layers.Layer):
    """Adapters by name, of which one is in use, or none.

    Args:
        active: The name of the one in use; None passes everything through. A traced function keeps the
            one that was in use then.
        adapters: Mapping from a name to the other arguments of `add`.

    Shapes: (..., D) -> (..., D).
    """

    def __init__(
        self, active: str | None = None, adapters: Mapping[str, Mapping[str, Any]] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.active = active
        self._names: tuple[str, ...] = tuple(adapters or ())
        for name, settings in (adapters or {}).items():
            setattr(self, _slot(name), Adapter(**settings, dtype=self.dtype_policy, name=name))
        self.supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self._shape = tuple(input_shape)
        for adapter in self.parts.values():
            adapter.build(input_shape)

    def add(self, name: str, bottleneck_dim: int, activation: str = "relu") -> None:
        """Put in an adapter; which one is in use does not change."""
        part = Adapter(bottleneck_dim, activation, dtype=self.dtype_policy, name=name)
        # Attributes are what Keras finds sublayers by; the prefix keeps names apart from its own.
        setattr(self, _slot(name), None)
        attach(self, _slot(name), part, self._shape)
        self._names = (*self._names, name)

    def remove(self, name: str) -> None:
        """Take one out."""
        detach(self, _slot(name))
        self._names = tuple(other for other in self._names if other != name)
        if self.active == name:
            self.active = None

    def call(self, x: Any) -> Any:
        return x if self.active is None else getattr(self, _slot(self.active))(x)

    def get_config(self) -> dict:
        adapters = {}
        for name, part in self.parts.items():
            config = part.get_config()
            adapters[name] = {key: config[key] for key in ("bottleneck_dim", "activation")}
        return {**super().get_config(), "active": self.active, "adapters": adapters}

    @property
    def parts(self) -> dict[str, Adapter]:
        """The adapters by name."""
        return {name: getattr(self, _slot(name)) for name in self._names}

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        return input_shape


def _slot(name: str) -> str:
    return f"adapter_{name}"
