"""The weights of a model that keras-hub has loaded."""

from typing import Any

import numpy as np


class KerasHubSource:
    """The weights of a loaded keras-hub backbone, by their path in it.

    Args:
        backbone: A built `keras_hub.models.Backbone`.
    """

    def __init__(self, backbone: Any) -> None:
        self.name = f"keras-hub's {type(backbone).__name__}"
        self._variables = {variable.path: variable for variable in backbone.weights}

    def keys(self) -> tuple[str, ...]:
        return tuple(self._variables)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._variables[key].shape)

    def dtype(self, key: str) -> str:
        return str(self._variables[key].dtype)

    def get(self, key: str) -> np.ndarray:
        import keras

        return keras.ops.convert_to_numpy(self._variables[key].value)
