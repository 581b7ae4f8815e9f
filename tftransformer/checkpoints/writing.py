"""Weights to a safetensors file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError


def write_weights(
    path: Path, variables: Mapping[str, Any], dtype: str | None = None, metadata: dict[str, str] | None = None
) -> None:
    """Write a `.safetensors` file.

    Args:
        path: The file.
        variables: `keras.Variable`s or arrays by the name that each gets.
        dtype: "float16", "bfloat16" or "float32". None: as they are.
        metadata: Of the file's header.

    Raises:
        TransformerError: A weight is not finite in the dtype to store.
    """
    from safetensors.numpy import save_file

    arrays = {}
    for address, variable in variables.items():
        array = as_array(variable)
        if dtype is not None:
            with np.errstate(over="ignore"):  # what overflows is reported by name instead
                array = array.astype(_numpy_dtype(dtype))
        if not np.isfinite(array).all():
            raise TransformerError(
                f"weights must be finite to be saved; {address} holds NaN or infinity as {array.dtype}"
            )
        arrays[address] = np.ascontiguousarray(array)  # the writer takes the memory as it lies
    # The writer makes its files readable for their owner alone; an ordinary new file has the mode of all others.
    path.touch()
    mode = path.stat().st_mode
    save_file(arrays, str(path), metadata=metadata)
    path.chmod(mode & 0o777)


def as_array(variable: Any) -> np.ndarray:
    """A variable's values, or the array that it is already."""
    if isinstance(variable, np.ndarray):
        return variable
    import keras

    return keras.ops.convert_to_numpy(variable)


def _numpy_dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return ml_dtypes.bfloat16
    return name
