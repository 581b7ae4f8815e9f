"""Reading the small files of a checkpoint folder, each failure one line that names the file."""

import json
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError

_LARGEST = 64 * 2**20  # bytes; a configuration or a vocabulary is far smaller


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file."""
    data = read_bytes(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise TransformerError(f"{path} must be UTF-8; line {line} is not") from None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise TransformerError(f"{path} must be JSON; line {error.lineno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is the other ValueError
        line = "too deep" if isinstance(error, RecursionError) else "a number in it has too many digits"
        raise TransformerError(f"{path} must be JSON; {line}") from None
    if not isinstance(value, dict):
        raise TransformerError(f"{path} must hold a JSON object; got {type(value).__name__}")
    return value


def read_optional_json(path: Path) -> dict[str, Any]:
    """`read_json`, with an empty object for a file that is not there."""
    return read_json(path) if path.exists() else {}


def read_bytes(path: Path) -> bytes:
    """The contents of a file that is not much larger than a vocabulary."""
    if not path.is_file():
        raise TransformerError(f"{path.parent} has no {path.name}")
    if path.stat().st_size > _LARGEST:
        raise TransformerError(f"{path} must be at most {_LARGEST} bytes; it has {path.stat().st_size}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise TransformerError(f"cannot read {path}: {error.strerror}") from None
