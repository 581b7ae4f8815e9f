"""A folder with a JSON file for each finished piece of long work, so that interrupted work goes on where it stopped."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
def resumable_folder(folder: str | os.PathLike | None, kind: str, settings: Mapping[str, Any]) -> Iterator[Path | None]:
    """Hold a folder that is new, empty, or of the same work, and note in it what the work is.

    Args:
        folder: The folder; made with its parents. None: nothing is kept.
        kind: Name of the work for messages, such as "search".
        settings: Everything that decides the results, as JSON values.

    Example:
        >>> with resumable_folder("runs/folds", "cross-validation", {"folds": 5}) as path:
        ...     _ = files.write_json(path / "fold-1.json", {"accuracy": 0.9})
    """
    if folder is None:
        yield None
        return
    path = Path(folder).expanduser()
    if path.exists() and not path.is_dir():
        raise TransformerError(f"output_dir must be a folder; {path} is a file")
    with files.disk_errors(path):
        path.mkdir(parents=True, exist_ok=True)
    with files.Lock(path):
        wanted = {"format": f"tftransformer-{kind}", "settings": files.plain(settings, "settings")}
        if (path / SETTINGS_FILE).is_file():
            _check_same(path, kind, read_json(path / SETTINGS_FILE), wanted)
        else:
            found = sorted(entry.name for entry in path.iterdir() if not files.is_partial(entry.name))
            if found:
                raise TransformerError(
                    f"output_dir must be new, empty or hold a {kind} to go on with; {path} holds {found[0]!r}"
                )
            files.write_json(path / SETTINGS_FILE, wanted)
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


def all_pieces(
    folder: Path | None,
    plan: Mapping[str, Any],
    make: Callable[[Any], dict[str, Any]],
    describe: Callable[[dict[str, Any]], str],
    *,
    what: str,
    needs: Sequence[str],
    wanted: Sequence[str] = (),
    say: Callable[[str], Any] = print,
) -> list[dict[str, Any]]:
    """The pieces of a plan, in its order: read from the folder where they are finished, else made and written.

    Args:
        folder: Folder of `resumable_folder`; None: every piece is made, and none is kept.
        plan: By the name of a piece's file, without its ending, what `make` is given.
        make: Does the work of a piece.
        describe: From a piece to a line of progress.
        what: Name of a piece, for messages.
        needs: Entries that a finished piece must have.
        wanted: Entries without which a finished piece is made again.
        say: Takes a line of progress a piece.

    Example:
        >>> all_pieces(None, {"fold-1": 3}, lambda n: {"rows": n}, str, what="fold", needs=["rows"], say=lambda line: None)
        [{'rows': 3}]
    """
    done: dict[str, dict[str, Any]] = {}
    for name in plan if folder is not None else ():
        if (folder / f"{name}.json").exists():
            piece = _read_piece(folder / f"{name}.json", needs, what)
            if all(entry in piece for entry in wanted):
                done[name] = piece
    if done:
        say(f"{folder} holds {len(done)} of {len(plan)} {what}s; going on from there")
    started, known = time.perf_counter(), len(done)
    for name, given in plan.items():
        if name not in done:
            done[name] = make(given)
            if folder is not None:
                files.write_json(folder / f"{name}.json", done[name])
            left = len(plan) - len(done)
            minutes = (time.perf_counter() - started) / (len(done) - known) * left / 60
            say(f"{describe(done[name])}; {left} to go, about {minutes:.0f} min")
    return [done[name] for name in plan]


def finished_pieces(folder: Path, stem: str, needs: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return the contents of the files `STEM-N.json` by N, in order."""
    numbers = {path.stem.removeprefix(f"{stem}-"): path for path in folder.glob(f"{stem}-*.json")}
    found = sorted((int(number), path) for number, path in numbers.items() if number.isdigit())
    return {number: _read_piece(path, needs, f"{stem} run") for number, path in found}


def _read_piece(path: Path, needs: Sequence[str], what: str) -> dict[str, Any]:
    piece = read_json(path)
    if missing := [name for name in needs if name not in piece]:
        raise TransformerError(f"{path} must hold {missing[0]!r}; delete it to have that {what} again")
    return piece
