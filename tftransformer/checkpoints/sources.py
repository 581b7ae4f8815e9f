"""Where weights come from: one small, lazy interface over files, loaded models and plain dicts.

Nothing here unpickles: a pickle can run any code, so PyTorch's `.bin` files are refused with the
command that converts them.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from tftransformer.errors import TransformerError

FLOATING = ("float16", "bfloat16", "float32", "float64")
_SAFETENSORS_DTYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


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
        name: What to call the source in messages.

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


class SafetensorsSource:
    """The tensors of one `.safetensors` file, read where they lie in it.

    The header is checked in full when the source is made (by the safetensors library: its length, the
    offsets, gaps and overlaps, and that the file ends where the last tensor does), so a file that was
    cut off or damaged there fails at once and before any memory is taken.

    Args:
        path: The file.

    Raises:
        TransformerError: There is no such file, or it is no sound safetensors file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from safetensors import SafetensorError, safe_open

        self.name = str(path)
        self._error = SafetensorError
        if not Path(path).is_file():
            raise TransformerError(f"there is no weights file {self.name}")
        try:
            self._file = safe_open(self.name, framework="numpy")
            self._keys = tuple(self._file.keys())
        except (SafetensorError, OSError, OverflowError) as error:
            raise TransformerError(
                f"{self.name} is damaged, cut off or no safetensors file ({_one_line(error)})"
            ) from None

    def keys(self) -> tuple[str, ...]:
        return self._keys

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(key).get_shape())

    def dtype(self, key: str) -> str:
        name = self._file.get_slice(key).get_dtype()
        return _SAFETENSORS_DTYPES.get(name, name.lower())

    def get(self, key: str) -> np.ndarray:
        if self.dtype(key) == "bfloat16":
            import ml_dtypes  # noqa: F401  (gives NumPy its bfloat16, which the reader looks up by name)
        try:
            return self._file.get_tensor(key)
        except (self._error, OSError, TypeError, AttributeError) as error:
            raise TransformerError(
                f"tensor {key!r} of {self.name} cannot be read ({_one_line(error)})"
            ) from None


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


def weights_file(folder: str | os.PathLike[str]) -> Path:
    """The weights file of a checkpoint folder that was not made by keras-hub.

    Raises:
        TransformerError: The folder has no `model.safetensors`; the message says what to do about the
            forms that it has instead.
    """
    folder = Path(folder)
    path = folder / "model.safetensors"
    if path.is_file():
        return path
    if (folder / "model.safetensors.index.json").exists():
        raise TransformerError(
            f"{folder} holds its weights in several shards, which are not read; save it as one file with "
            'save_pretrained(folder, max_shard_size="100GB") in transformers'
        )
    pickles = sorted(p.name for p in folder.glob("*.bin")) + sorted(p.name for p in folder.glob("*.pt*"))
    if pickles:
        raise TransformerError(
            f"{folder / pickles[0]} is a pickle, which can run any code and is never opened here; convert it "
            'where torch and transformers are installed: python -c "from transformers import AutoModel; '
            f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}')\""
        )
    raise TransformerError(f"{folder} has no model.safetensors")


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()).removeprefix("Error while deserializing header: ")
    return text if len(text) <= 200 else text[:200] + "…"
