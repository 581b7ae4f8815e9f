"""Weights in safetensors files: in one, or in several with an index that says which tensor is in which of them."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from tftransformer.checkpoints.folders import read_json
from tftransformer.checkpoints.sources.base import Source, counted, listed, one_line
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
    """The tensors of one `.safetensors` file, read one by one.

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
            raise TransformerError(f"tensor {key!r} of {self.name} cannot be read ({one_line(error)})") from None


_MOST = 10_000  # shards; each stays open, and an index that names more is a mistake


class ShardedSource:
    """The tensors of all shards that an index names, as one source.

    The index and every shard are checked against each other when the source is made.

    Args:
        index: The file `*.index.json`, whose `weight_map` gives the file of each tensor.
        open_shard: Makes the source of one shard from its path, such as `SafetensorsSource`.

    Raises:
        TransformerError: The index is damaged or names a file outside of its folder, a shard is missing or
            damaged, or the index and the shards list different tensors; all of a kind in one line.
    """

    def __init__(self, index: str | os.PathLike[str], open_shard: Callable[[Path], Source]) -> None:
        index = Path(index)
        self.name = str(index)
        self._files = _weight_map(index)
        names = sorted(set(self._files.values()))
        if len(names) > _MOST:
            raise TransformerError(f"{index} must name at most {_MOST} shards; it names {len(names)}")
        missing = [name for name in names if not (index.parent / name).is_file()]
        if missing:
            raise TransformerError(f"{index.parent} lacks shards that {index.name} names: {listed(missing, 5)}")
        self._shards = {name: open_shard(index.parent / name) for name in names}
        _check_tensors(index, self._files, self._shards)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._files)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._shards[self._files[key]].shape(key)

    def dtype(self, key: str) -> str:
        return self._shards[self._files[key]].dtype(key)

    def get(self, key: str) -> np.ndarray:
        return self._shards[self._files[key]].get(key)


def _weight_map(index: Path) -> dict[str, str]:
    stated = read_json(index).get("weight_map")
    if not isinstance(stated, dict) or not stated:
        raise TransformerError(f"{index} must have weight_map, a JSON object from tensors to their files")
    # A shard is a file beside its index; anything with a folder in it could be any file of the machine.
    strays = dict.fromkeys(repr(file) for file in stated.values() if not _is_plain(file))
    if strays:
        raise TransformerError(f"{index} must name files beside itself, without a folder; got {listed(strays, 5)}")
    return stated


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and name.isprintable() and name not in ("", ".", "..") and not set(name) & set("/\\:")


def _check_tensors(index: Path, files: Mapping[str, str], shards: Mapping[str, Source]) -> None:
    held = {name: set(shard.keys()) for name, shard in shards.items()}
    lost = [f"{key} (of {file})" for key, file in files.items() if key not in held[file]]
    spare = [f"{key} (in {file})" for file in held for key in sorted(held[file]) if files.get(key) != file]
    kinds = {"in the index that their shard lacks": lost, "in a shard that the index does not place there": spare}
    if found := counted(kinds, 5):
        raise TransformerError(f"{index} and its shards must list the same tensors; {found}")
