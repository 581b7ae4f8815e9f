"""A folder with one JSON file for each finished piece of long work, which can be gone on with and not mixed up."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tftransformer import files, patterns
from tftransformer.checkpoints.folders import read_json
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError

SETTINGS_FILE = "settings.json"
_DIGITS = 16


@contextlib.contextmanager
def resumable_folder(folder: str | os.PathLike, kind: str, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Hold a folder that is new, empty, or of the same work, and note in it what the work is.

    Args:
        folder: The folder; made with its parents.
        kind: What is done in it, as users call it, such as "search".
        settings: Everything that decides the results, as JSON values.

    Example:
        >>> with resumable_folder("runs/folds", "cross-validation", {"folds": 5}) as path:
        ...     _ = files.write_json(path / "fold-1.json", {"accuracy": 0.9})
    """
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise TransformerError(f"output_dir must be a folder; {path} is a file")
    with files.disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with files.Lock(path):
        record = {"format": f"tftransformer-{kind}", "settings": files.plain(settings, "settings")}
        if (path / SETTINGS_FILE).is_file():
            _check_same(path, kind, read_json(path / SETTINGS_FILE), record)
        else:
            found = sorted(entry.name for entry in path.iterdir() if not files.is_partial(entry.name))
            if found:
                raise TransformerError(
                    f"output_dir must be new, empty or hold a {kind} to go on with; {path} holds {found[0]!r}"
                )
            files.write_json(path / SETTINGS_FILE, record)
        yield path


def _check_same(path: Path, kind: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if found.get("format") != wanted["format"] or not isinstance(found.get("settings"), Mapping):
        raise TransformerError(f"output_dir must hold a {kind} to go on with; {path} is of something else")
    old, new = found["settings"], wanted["settings"]
    for name in dict.fromkeys([*new, *old]):
        if old.get(name) != new.get(name):
            raise TransformerError(
                f"output_dir must hold a {kind} of the same settings; {path} has {_short(name, old)}, "
                f"not {_short(name, new)}"
            )


def _short(name: str, settings: Mapping[str, Any]) -> str:
    if name not in settings:
        return f"no {name}"
    text = json.dumps(settings[name], ensure_ascii=False)
    return f"{name} {text if len(text) <= 120 else f'{text[:119]}…'}"


def digest_of(value: Any) -> str:
    """A short hash of a split, or of JSON values: equal where the contents are.

    Example:
        >>> digest_of(["a", "b"]) == digest_of(("a", "b"))
        True
    """
    if isinstance(value, Split):
        value = [value.texts, value.targets]
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def digest_of_model(model: keras.Model) -> str:
    """A short hash of a model's settings and weights, by their addresses."""
    hashed = hashlib.sha256(json.dumps(model.get_config(), sort_keys=True, default=str).encode())
    for name, variable in sorted(patterns.addresses(model).items()):
        value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable))
        hashed.update(f"{name} {value.shape} {value.dtype}".encode())
        hashed.update(value.tobytes())
    return hashed.hexdigest()[:_DIGITS]


def finished_pieces(folder: Path, stem: str, needs: Sequence[str]) -> dict[int, dict[str, Any]]:
    """What `STEM-N.json` files hold, by N, in order."""
    pieces = {}
    for path in folder.glob(f"{stem}-*.json"):
        number = path.stem.removeprefix(f"{stem}-")
        if not number.isdigit():
            continue
        pieces[int(number)] = read_piece(path, needs, f"{stem} run")
    return dict(sorted(pieces.items()))


def read_piece(path: Path, needs: Sequence[str], what: str = "run") -> dict[str, Any]:
    """What the file of a finished piece holds, which must have the entries `needs`."""
    piece = read_json(path)
    if missing := [name for name in needs if name not in piece]:
        raise TransformerError(f"{path} must hold {missing[0]!r}; delete it to have that {what} again")
    return piece
