"""A one-dimensional .npy file that grows: arrays larger than memory, written in pieces, read memory-mapped."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy


class NpyStream:
    """Writes a one-dimensional .npy file piece by piece.

    Args:
        path: The file to make.
        dtype: Dtype of its values.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "ids.npy"
        >>> with NpyStream(path, "uint16") as stream:
        ...     stream.append([1, 2])
        ...     stream.append([3])
        >>> np.load(path, mmap_mode="r").tolist()
        [1, 2, 3]
    """

    def __init__(self, path: str | os.PathLike, dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._file = Path(path).open("wb")
        self._write_header()

    def append(self, values: Any) -> None:
        """Add values at the end."""
        values = np.ascontiguousarray(values, self.dtype)
        self._file.write(values.tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Write the final length; the file is whole only now."""
        if not self._file.closed:
            self._write_header()
            self._file.close()

    def _write_header(self) -> None:
        # NumPy leaves room for the longest length: the header keeps its size.
        self._file.seek(0)
        header = {"descr": npy.dtype_to_descr(self.dtype), "fortran_order": False, "shape": (self.length,)}
        npy.write_array_header_1_0(self._file, header)

    def __enter__(self) -> "NpyStream":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
