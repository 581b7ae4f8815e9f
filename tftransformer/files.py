"""Writing files and folders so that a crash, a full disk or a second process leaves nothing half-written."""

import contextlib
import errno
import fcntl
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError

PARTIAL_SUFFIX = ".partial"


def is_partial(name: str) -> bool:
    """Return whether `name` (no folder in it) is a temporary left by a process killed while writing."""
    return name.startswith(".") and name.endswith(PARTIAL_SUFFIX)


@contextlib.contextmanager
def disk_errors(path: str | os.PathLike) -> Iterator[None]:
    """Turn what the disk refuses inside the block into a one-line `TransformerError` that names `path`.

    Full disks are recognised in other libraries' exceptions too (TensorFlow and safetensors raise their own
    types with the system's words inside).

    Raises:
        TransformerError: For an `OSError` about `path` or something beside or inside it, and for any
            exception whose text says that no space is left.

    Example:
        >>> with disk_errors("/nowhere/x"):
        ...     open("/nowhere/x", "w")
        Traceback (most recent call last):
        ...
        tftransformer.errors.TransformerError: cannot write /nowhere/x: No such file or directory
    """
    try:
        yield
    except TransformerError:
        raise
    except Exception as error:
        full = os.strerror(errno.ENOSPC)
        if full.lower() in str(error).lower():
            reason = full
        elif isinstance(error, OSError) and error.errno is not None and _concerns(error, path):
            reason = os.strerror(error.errno)
        else:
            raise
        raise TransformerError(f"cannot write {os.fspath(path)}: {reason}") from error


def _concerns(error: OSError, path: str | os.PathLike) -> bool:
    # The block may read files elsewhere; their absence is not a failure to write here.
    if not isinstance(error.filename, (str, bytes, os.PathLike)):
        return True
    parent = os.path.dirname(os.path.realpath(path))
    return os.path.realpath(os.fsdecode(error.filename)).startswith(os.path.join(parent, ""))


def _partial_sibling(path: Path) -> Path:
    # The name is shortened because a long one plus the suffix may pass the file system's 255 bytes.
    return path.with_name(f".{path.name[:40]}.{os.getpid()}-{secrets.token_hex(4)}{PARTIAL_SUFFIX}")


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[Path]:
    """Give the block a temporary path beside `path`; put it in place when the block succeeds.

    Readers see the old file or the whole new one. The temporary is removed on any failure. A symbolic link
    at `path` stays a link, and the file it points to is replaced.

    Raises:
        TransformerError: The disk refused (full, read-only, no such folder).

    Example:
        >>> with atomic_file("figure.png") as temporary:
        ...     _ = temporary.write_bytes(b"...")
    """
    target = Path(os.path.realpath(path))
    temporary = _partial_sibling(target)
    with disk_errors(path):
        try:
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise


def write_bytes(path: str | os.PathLike, data: bytes) -> Path:
    """Write `data` to `path` atomically (see `atomic_file`) and return the path.

    Raises:
        TransformerError: The disk refused.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(path: str | os.PathLike, text: str) -> Path:
    """Write `text` to `path` as UTF-8, atomically, line ends as they are.

    Half a surrogate pair, which UTF-8 cannot hold, is written as its backslash escape.

    Raises:
        TransformerError: The disk refused.
    """
    return write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def plain(value: Any, name: str = "value") -> Any:
    """`value` in the types of strict JSON: numbers that are not finite become None, arrays become lists.

    Args:
        value: Dictionaries, sequences, sets, paths, numpy and backend scalars and arrays, None, strings.
        name: Name of the value for error messages.

    Raises:
        TransformerError: Something in `value` has no JSON form.

    Example:
        >>> plain({"loss": float("nan"), "rates": (1e-3,)})
        {'loss': None, 'rates': [0.001]}
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        value = sorted(value, key=str)
    if isinstance(value, (list, tuple)):
        return [plain(item, f"{name}[{index}]") for index, item in enumerate(value)]
    if hasattr(value, "__array__"):  # arrays and scalars of NumPy and of Keras's backends
        return plain(np.asarray(value).tolist(), name)
    raise TransformerError(f"{name} must be something that JSON can hold; got {type(value).__name__}")


def json_text(value: Any) -> str:
    """`value` (see `plain`) as strict, indented JSON; a list of scalars stays on one line."""

    def lines(item: Any, indent: str) -> str:
        inner = indent + "  "
        nested = isinstance(item, (dict, list)) and bool(item)
        if nested and isinstance(item, dict):
            rows = [f"{json.dumps(key, ensure_ascii=False)}: {lines(item[key], inner)}" for key in item]
            return "{\n" + ",\n".join(inner + row for row in rows) + f"\n{indent}}}"
        if nested and any(isinstance(element, (dict, list)) for element in item):
            return "[\n" + ",\n".join(inner + lines(element, inner) for element in item) + f"\n{indent}]"
        return json.dumps(item, ensure_ascii=False, allow_nan=False)

    return lines(plain(value), "") + "\n"


def write_json(path: str | os.PathLike, value: Any) -> Path:
    """Write `value` to `path` as strict JSON, atomically; NaN and infinities become null.

    Raises:
        TransformerError: The disk refused, or `value` holds something without a JSON form.

    Example:
        >>> _ = write_json("metrics.json", {"test": {"accuracy": 0.91}})
    """
    return write_text(path, json_text(value))


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, *, overwrite: bool = False) -> Iterator[Path]:
    """Give the block an empty folder beside `path`; rename it to `path` when the block succeeds.

    On failure nothing is left, and what stood at `path` is untouched.

    Args:
        path: The folder to make; its parents are made too.
        overwrite: Replace a folder that stands there. An empty one is always replaced.

    Raises:
        TransformerError: `path` exists and `overwrite` is off, `path` is a file, or the disk refused.

    Example:
        >>> with atomic_folder("model") as folder:
        ...     _ = (folder / "vocab.txt").write_text("[PAD]")
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise TransformerError(f"path must be a folder; {os.fspath(path)} is a file")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise TransformerError(f"path must be a new or empty folder; {os.fspath(path)} holds files")
    temporary = _partial_sibling(target)
    with disk_errors(path):
        try:
            temporary.mkdir(parents=True)
            yield temporary
            _swap(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _swap(new: Path, target: Path) -> None:
    if not target.exists():
        os.rename(new, target)
        return
    aside = _partial_sibling(target)
    os.rename(target, aside)
    try:
        os.rename(new, target)
    except BaseException:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def sha256(path: str | os.PathLike) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits.

    Raises:
        TransformerError: The file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TransformerError(f"cannot read {os.fspath(path)}: {os.strerror(error.errno)}") from error


class Lock:
    """An exclusive lock on a folder, held until `release` or the end of the process, however it ends.

    The folder itself is locked (flock), so no lock file is left behind. On file systems without such locks
    (some network mounts) it does nothing.

    Raises:
        TransformerError: Another process, or another `Lock` of this one, holds the folder.

    Example:
        >>> with Lock("."):
        ...     pass
    """

    def __init__(self, folder: str | os.PathLike) -> None:
        with disk_errors(folder):
            self._descriptor: int | None = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.release()
            raise TransformerError(f"{os.fspath(folder)} is in use by another process") from None
        except OSError:
            pass

    def release(self) -> None:
        """Let go of the folder; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
