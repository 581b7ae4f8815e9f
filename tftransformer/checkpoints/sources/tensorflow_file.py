"""Weights in a TensorFlow checkpoint, by name (TensorFlow 1) or by the path of an object (TensorFlow 2)."""

import glob
import math
import os
from pathlib import Path

import numpy as np

from tftransformer.checkpoints.sources.base import one_line
from tftransformer.errors import TransformerError

_INDEX = ".index"


class TensorFlowSource:
    """The tensors of a checkpoint in TensorFlow's format, read one by one.

    TensorFlow checks a checksum for the index and for each tensor when it is read.

    Args:
        prefix: Common beginning of the names of its files, such as `bert_model.ckpt`.

    Raises:
        TransformerError: A file is missing or damaged, TensorFlow is not installed, or the index states more
            than the files hold.
    """

    def __init__(self, prefix: str | os.PathLike[str]) -> None:
        self.name = str(prefix)
        if not Path(self.name + _INDEX).is_file():
            raise TransformerError(f"there is no checkpoint {self.name}: it lacks {self.name}{_INDEX}")
        try:
            import tensorflow as tf
        except ImportError:
            raise TransformerError(f"{self.name} can only be read where tensorflow is installed") from None
        try:
            self._reader = tf.train.load_checkpoint(self.name)
            shapes = self._reader.get_variable_to_shape_map()
            dtypes = self._reader.get_variable_to_dtype_map()
        except Exception as error:  # TensorFlow's reader raises its own, RuntimeError, ValueError, IndexError
            raise TransformerError(f"{self.name} is a damaged checkpoint ({one_line(error)})") from None
        self._shapes = {key: tuple(shapes[key]) for key in sorted(shapes)}
        self._dtypes = {key: str(dtypes[key].name) for key in shapes}
        # A string has no fixed size, and may be empty.
        self._check_size({key: 0 if dtypes[key] == tf.string else dtypes[key].size for key in shapes})

    def keys(self) -> tuple[str, ...]:
        return tuple(self._shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        return self._shapes[key]

    def dtype(self, key: str) -> str:
        return self._dtypes[key]

    def get(self, key: str) -> np.ndarray:
        try:
            return np.asarray(self._reader.get_tensor(key))
        except Exception as error:  # as above
            raise TransformerError(f"tensor {key!r} of {self.name} cannot be read ({one_line(error)})") from None

    def _check_size(self, sizes: dict[str, int]) -> None:
        stated = sum(math.prod(shape) * sizes[key] for key, shape in self._shapes.items())
        parts = Path(self.name).parent.glob(f"{glob.escape(Path(self.name).name)}.data-*")
        held = sum(part.stat().st_size for part in parts)
        if stated > held:
            raise TransformerError(
                f"{self.name} is cut off, or a part of it is missing: its index states {stated} bytes of "
                f"tensors, and its .data files hold {held}"
            )


def find_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The prefix of the TensorFlow checkpoint in a folder; None where there is none.

    Of several, the one that the file `checkpoint` names as the latest is taken.
    """
    folder = Path(folder)
    found = sorted(path.with_suffix("") for path in folder.glob(f"*{_INDEX}"))
    if len(found) <= 1:
        return found[0] if found else None
    latest = _latest(folder / "checkpoint")
    if folder / latest in found:
        return folder / latest
    names = ", ".join(path.name for path in found[:5])
    raise TransformerError(
        f"{folder} must hold one TensorFlow checkpoint, or say in a file named checkpoint which; it holds {names}"
    )


def _latest(path: Path) -> str:
    """The first line is `model_checkpoint_path: "..."`, often with a path of the machine that trained."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        first = file.readline(4096).decode("utf-8", "replace")
    key, _, value = first.strip().partition(":")
    return value.strip().strip('"').split("/")[-1] if key == "model_checkpoint_path" else ""
