"""Where a prefix cache lives: a folder of the user's, or one that goes with the process."""

import atexit
import contextlib
import errno
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from tftransformer import files
from tftransformer.errors import TransformerError, near_miss

CHOICES = ("auto", "off")
_MARKER = "prefix_cache.json"
_PREFIX = "tftransformer-prefix-"
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


def check_prefix_cache(choice: Any) -> None:
    """Raise a `TransformerError` unless it is "auto", "off" or may be the name of a folder."""
    if not isinstance(choice, (str, os.PathLike)) or not os.fspath(choice):
        raise TransformerError(f"prefix_cache must be 'auto', 'off' or a folder; got {choice!r}")
    suggestion = near_miss(choice, CHOICES) if isinstance(choice, str) and choice not in CHOICES else ""
    if suggestion and os.sep not in choice and not os.path.exists(choice):
        raise TransformerError(
            f"prefix_cache must be 'auto', 'off' or a folder; got {choice!r}{suggestion} (a folder: ./{choice})"
        )


def check_folder(folder: Path) -> None:
    """Raise unless a folder is a cache or may become one; nothing is written.

    Raises:
        TransformerError: It cannot be written, or holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise TransformerError(f"prefix_cache must be a folder; {folder} is a file")
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        reason = errno.EACCES if existing.is_dir() else errno.ENOTDIR
        raise TransformerError(f"prefix_cache: cannot write {folder}: {os.strerror(reason)}")
    others = sorted(name for name in os.listdir(existing) if not files.is_partial(name))
    if existing == folder and others and not (folder / _MARKER).is_file():
        raise TransformerError(
            f"prefix_cache must be a new folder or an earlier cache; {folder} holds {others[0]!r}"
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
        raise TransformerError(f"prefix_cache: cannot write {folder}: {reason}") from error
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
