"""The interface that every source of weights has, and the simplest ones: arrays in memory, a loaded keras-hub model."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np

FLOATING = ("float16", "bfloat16", "float32", "float64")


class Source(Protocol):
    """Named tensors, read one at a time so that memory holds one of them beside the model.

    `name` says in messages where the tensors come from.
    """

    name: str

    def keys(self) -> tuple[str, ...]:
        """The names of all tensors."""

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of one tensor, without reading it."""

    def dtype(self, key: str) -> str:
        """The dtype of one tensor by its NumPy name, such as "float32" or "bfloat16"."""

    def get(self, key: str) -> np.ndarray:
        """The values of one tensor."""


class ArraySource:
    """Tensors that are in memory already.

    Args:
        arrays: Arrays by name.
        name: Name of the source in messages.

    Example:
        >>> source = ArraySource({"w": np.zeros((2, 3), "float32")})
        >>> source.keys(), source.shape("w"), source.dtype("w")
        (('w',), (2, 3), 'float32')
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], name: str = "the given arrays") -> None:
        self.name = name
        self._arrays = dict(arrays)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._arrays[key].shape)

    def dtype(self, key: str) -> str:
        return str(self._arrays[key].dtype)

    def get(self, key: str) -> np.ndarray:
        return np.asarray(self._arrays[key])


def cast(values: np.ndarray, dtype: str) -> np.ndarray:
    """The values in another dtype; what overflows becomes infinite, to be reported by name."""
    import ml_dtypes  # noqa: F401  (gives NumPy its bfloat16)

    with np.errstate(over="ignore"):
        return values.astype(dtype)


def one_line(error: BaseException) -> str:
    """Return the message of another library's exception on one line, cut to a readable length.

    Example:
        >>> one_line(OSError("no\\n  such file"))
        'no such file'
    """
    text = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
    text = text or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"


class KerasHubSource(ArraySource):
    """The weights of a loaded keras-hub backbone, by their path in it.

    Args:
        backbone: A built `keras_hub.models.Backbone`.
    """

    def __init__(self, backbone: Any) -> None:
        variables = {variable.path: variable for variable in backbone.weights}
        super().__init__(variables, f"keras-hub's {type(backbone).__name__}")

    def get(self, key: str) -> np.ndarray:
        import keras

        return keras.ops.convert_to_numpy(self._arrays[key])


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names of tensors or files for a message: the first of them, each on one line and of a readable length."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = (name if name.isprintable() else ascii(name) for name in names[:most])
    return ", ".join(name if len(name) <= 120 else name[:120] + "…" for name in shown) + more


def counted(kinds: Mapping[str, Iterable[str]], most: int = 20) -> str:
    """Return the number and the names of each kind, for a message; "" where there are none."""
    lists = {what: list(names) for what, names in kinds.items()}
    return "; ".join(f"{len(names)} {what}: {listed(names, most)}" for what, names in lists.items() if names)
