"""Layers whose config is derived from the arguments that they name."""

from typing import Any

import keras


class ConfiguredLayer(keras.layers.Layer):
    """A layer that names the arguments of its constructor which are attributes of the same names.

    Attributes:
        arguments: The names, without those of the parent class; `get_config` derives them.

    Example:
        >>> from tftransformer.layers.positions import SinusoidalPosition
        >>> SinusoidalPosition.arguments, SinusoidalPosition(period=50.0).get_config()["period"]
        (('period', 'interleaved'), 50.0)
    """

    arguments: tuple[str, ...] = ()

    def get_config(self) -> dict:
        names = [name for kind in reversed(type(self).__mro__) for name in vars(kind).get("arguments", ())]
        return {**super().get_config(), **{name: _stated(getattr(self, name)) for name in names}}


def _stated(value: Any) -> Any:
    parts = (keras.initializers.Initializer, keras.layers.Layer)
    return keras.saving.serialize_keras_object(value) if isinstance(value, parts) else value
