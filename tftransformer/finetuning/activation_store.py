"""Hidden vectors on disk, by the hash of the tokens they were computed from.

A store is a folder of shards; shards are added and never changed. A shard is a folder, too, which appears whole or not
at all, under a name of its own:

- `values.npy`: the vectors of all its rows one after another, without padding, memory-mapped when read;
- `index.npy`: the digest and the length of each row;
- `shard.json`: sizes and checksums of both.

Leftovers of a killed process have the name of a temporary and are ignored, as are shards that do not match their
checksums. Several processes may write at once: at worst they compute the same rows.
"""

import atexit
import contextlib
import errno
import functools
import json
import os
import secrets
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401  # NumPy knows "bfloat16" by it
import numpy as np

from tftransformer import files
from tftransformer.data.npy_stream import NpyStream
from tftransformer.errors import TransformerError, near_miss

# A killed process loses no more than the shard it was writing.
SHARD_BYTES = 1 << 28
_INDEX = np.dtype([("digest", "V16"), ("length", "<i4")])
_READ_AT_ONCE = 1 << 24


class ActivationStore:
    """Rows of vectors of one width and type.

    Args:
        folder: Folder of the shards; made with the first one.
        width: D.
        dtype: "float32", "bfloat16" or "float16".

    Attributes:
        numpy_dtype: Dtype of what `padded` returns.

    Example:
        >>> import tempfile
        >>> store = ActivationStore(Path(tempfile.mkdtemp()), width=2, dtype="float32")
        >>> store.add([([b"0123456789abcdef"], [3], np.ones((3, 2), "float32"))])
        >>> store.padded([b"0123456789abcdef"], 4)[0, :, 0].tolist()
        [1.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, folder: Path, width: int, dtype: str) -> None:
        self.folder, self.width, self.dtype = Path(folder), width, dtype
        self.numpy_dtype = np.dtype(dtype)
        self._forget()
        self.refresh()

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    def refresh(self) -> None:
        """See what other processes have added, and forget what has been deleted."""
        names = set()
        if self.folder.is_dir():
            names = {entry.name for entry in os.scandir(self.folder) if not files.is_partial(entry.name)}
        if not names >= self._shards:
            self._forget()
        for name in sorted(names - self._shards):
            self._open(name, verify=True)

    def add(self, batches: Iterable[tuple[Sequence[bytes], Sequence[int] | np.ndarray, np.ndarray]]) -> None:
        """Store rows as they come.

        Args:
            batches: Tuples (digests, lengths, values): the digest of 16 bytes and the number of vectors of each row,
                and the (sum of lengths, D) vectors of all of them.

        Raises:
            TransformerError: Writing to the disk failed. Rows stored before are kept.
        """
        batches = iter(batches)
        self.folder.mkdir(parents=True, exist_ok=True)
        for first in batches:
            name = f"shard-{secrets.token_hex(8)}"
            with files.atomic_folder(self.folder / name) as partial:
                self._write_shard(partial, first, batches)
            self._open(name, verify=False)

    def padded(self, digests: Sequence[bytes], length: int) -> np.ndarray:
        """(B, length, D): the vectors of these rows, with zeros behind.

        Raises:
            KeyError: One of them is not stored.
        """
        values = np.zeros((len(digests), length, self.width), self.numpy_dtype)
        for i, digest in enumerate(digests):
            stored, start, count = self._rows[digest]
            values[i, :count] = stored[start : start + count]
        return values

    def _write_shard(self, partial: Path, first: tuple, batches: Iterator[tuple]) -> None:
        digests: list[bytes] = []
        lengths: list[int] = []
        with NpyStream(partial / "values.npy", _stored_dtype(self.numpy_dtype)) as stream:
            size = 0
            batch: tuple | None = first
            while batch is not None:
                digests.extend(batch[0])
                lengths.extend(int(length) for length in batch[1])
                values = np.ascontiguousarray(batch[2], self.numpy_dtype)
                stream.append(values.reshape(-1).view(stream.dtype))
                size += values.nbytes
                batch = next(batches, None) if size < SHARD_BYTES else None
        index = np.zeros(len(digests), _INDEX)
        index["digest"] = np.frombuffer(b"".join(digests), "V16")
        index["length"] = lengths
        np.save(partial / "index.npy", index)
        meta = {
            "dtype": self.dtype,
            "width": self.width,
            "tokens": int(sum(lengths)),
            "values": _checksum(partial / "values.npy"),
            "index": _checksum(partial / "index.npy"),
        }
        # The names must not reach the disk before what they name.
        for name in ("values.npy", "index.npy"):
            with open(partial / name, "rb") as written:
                os.fsync(written.fileno())
        files.write_json(partial / "shard.json", meta)

    def _open(self, name: str, verify: bool) -> None:
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, EOFError):
            folder = self.folder / name
            meta = json.loads((folder / "shard.json").read_text("utf-8"))
            if (meta["dtype"], meta["width"]) != (self.dtype, self.width):
                return
            if verify and any(_checksum(folder / f"{part}.npy") != meta[part] for part in ("values", "index")):
                return
            index = np.load(folder / "index.npy", allow_pickle=False)
            values = np.load(folder / "values.npy", mmap_mode="r", allow_pickle=False)
            values = values.view(self.numpy_dtype).reshape(meta["tokens"], self.width)
            start = 0
            for digest, length in zip(index["digest"], index["length"].tolist()):
                self._rows[digest.tobytes()] = values, start, length
                start += length
            self._shards.add(name)

    def _forget(self) -> None:
        self._shards: set[str] = set()
        # Where each row is: the vectors of its shard, the first of its own, and their number.
        self._rows: dict[bytes, tuple[np.ndarray, int, int]] = {}


def _stored_dtype(dtype: np.dtype) -> np.dtype:
    # NumPy's format does not know bfloat16; the bits are kept.
    return dtype if dtype.kind == "f" and dtype.name != "bfloat16" else np.dtype("uint16")


def _checksum(path: Path) -> dict[str, Any]:
    """Size and CRC-32 of a file: they find what breaks, and read as fast as the disk."""
    crc = size = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_AT_ONCE):
            crc = zlib.crc32(block, crc)
            size += len(block)
    return {"bytes": size, "crc32": crc}


CHOICES = ("auto", "off")
_MARKER = "activation_cache.json"
_PREFIX = "tftransformer-activations-"
# A folder is made and locked in two steps; between them it must not be taken for an abandoned one.
_ABANDONED_SECONDS = 3600
_locks: list[files.Lock] = []
# No shard takes so long to write: its process is gone.
_STALE_SECONDS = 24 * 3600


def temporary_folder() -> Path:
    """The folder of this process, which goes when it ends; those of killed ones go with the next that starts.

    Where something has cleared it away, such as a cleaner of temporary files, it is made anew.
    """
    if not _own_folder().is_dir():
        _own_folder.cache_clear()
    return _own_folder()


@functools.cache
def _own_folder() -> Path:
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if _age(left) > _ABANDONED_SECONDS:
            _remove_unless_locked(left)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    # Held until the process ends, in whatever way.
    _locks.append(files.Lock(folder))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _remove_unless_locked(folder: Path) -> None:
    with contextlib.suppress(TransformerError), files.Lock(folder):
        shutil.rmtree(folder, ignore_errors=True)


def check_activation_cache(choice: Any) -> None:
    """Raise a `TransformerError` unless it is "auto", "off" or may be the name of a folder."""
    if not isinstance(choice, (str, os.PathLike)) or not os.fspath(choice):
        raise TransformerError(f"activation_cache must be 'auto', 'off' or a folder; got {choice!r}")
    suggestion = near_miss(choice, CHOICES) if isinstance(choice, str) and choice not in CHOICES else ""
    if suggestion and os.sep not in choice and not os.path.exists(choice):
        raise TransformerError(
            f"activation_cache must be 'auto', 'off' or a folder; got {choice!r}{suggestion} (a folder: ./{choice})"
        )


def check_folder(folder: Path) -> None:
    """Raise unless a folder is a cache or may become one; nothing is written.

    Raises:
        TransformerError: It cannot be written, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise TransformerError(f"activation_cache must be a folder; {folder} is a file")
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = errno.EACCES if existing.is_dir() else errno.ENOTDIR
        raise TransformerError(f"activation_cache: cannot write {folder}: {os.strerror(reason)}")
    others = sorted(name for name in os.listdir(existing) if not files.is_partial(name))
    if existing == folder and others and not (folder / _MARKER).is_file():
        raise TransformerError(
            f"activation_cache must be a new folder or an earlier cache; {folder} holds {others[0]!r}"
        )


def claim(folder: Path) -> None:
    """Make a checked folder a cache, if it is not one already, and clear away what killed processes left.

    Raises:
        TransformerError: The disk refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:  # about any of the folders above it, too
        reason = os.strerror(error.errno)
        raise TransformerError(f"activation_cache: cannot write {folder}: {reason}") from error
    for left in folder.glob("*/.*"):
        if files.is_partial(left.name) and _age(left) > _STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)
    if not (folder / _MARKER).is_file():
        files.write_json(folder / _MARKER, {"about": "outputs of frozen layers; this folder may be deleted"})


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def folder_size(folder: Path) -> int:
    """Bytes in all files below a folder."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.path.getsize(os.path.join(where, name))
    return total


def readable(count: int) -> str:
    """A number of bytes for people.

    Example:
        >>> readable(3_140_000)
        '3.1 MB'
    """
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"
