"""Weights in one `.safetensors` file: a JSON header, then the tensors."""

import os
from pathlib import Path

import numpy as np

from tftransformer.checkpoints.sources.base import one_line
from tftransformer.errors import TransformerError

_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "BOOL": "bool",
    **{f"I{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"U{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
}


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
        except (SafetensorError, OSError, OverflowError, ValueError) as error:
            raise TransformerError(
                f"{self.name} is damaged, cut off or no safetensors file ({one_line(error)})"
            ) from None

    def keys(self) -> tuple[str, ...]:
        return self._keys

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._file.get_slice(key).get_shape())

    def dtype(self, key: str) -> str:
        name = self._file.get_slice(key).get_dtype()
        return _DTYPES.get(name, name.lower())

    def get(self, key: str) -> np.ndarray:
        if self.dtype(key) == "bfloat16":
            import ml_dtypes  # noqa: F401  (gives NumPy its bfloat16, which the reader looks up by name)
        try:
            return self._file.get_tensor(key)
        except (self._error, OSError, TypeError, AttributeError) as error:
            raise TransformerError(
                f"tensor {key!r} of {self.name} cannot be read ({one_line(error)})"
            ) from None
