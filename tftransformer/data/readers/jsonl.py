"""JSONL files (one object a line) and JSON files: an array of objects, or one object with lists of rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tftransformer.data.readers.columns import Table
from tftransformer.data.readers.text_file import read_text, split_lines
from tftransformer.errors import TransformerError

MISSING = object()


def read_jsonl(path: Path) -> Table:
    """Reads objects into a table whose columns are the keys, in order of first appearance.

    Numbers stay as they were written, so the label 1 is "1"; NaN and infinities are null. A key that an object
    lacks gives `MISSING`.

    Raises:
        TransformerError: with file and line, if a line is not JSON or not an object, or has a key twice, and as
            `read_text`.
    """
    text = read_text(path)
    if path.suffix.lower() == ".json" and text.lstrip().startswith("["):
        objects = _parse(path, 1, text)
        lines = list(range(1, len(objects) + 1))
    else:
        numbered = [(i, line) for i, line in enumerate(split_lines(text), 1) if line.strip()]
        objects = [_parse(path, i, line) for i, line in numbered]
        lines = [i for i, _ in numbered]
    for value, line in zip(objects, lines, strict=True):
        if not isinstance(value, dict):
            raise TransformerError(f'{path}:{line}: each row must be an object such as {{"text": "…", "label": "…"}}')
    return _table(str(path), objects, lines)


def read_json_splits(path: Path) -> dict[str, Table] | None:
    """The lists of a JSON file that is one object with a list of rows for each split, by its keys.

    Rows are objects, or lists `[text, label]` of equal lengths. None where the file is no such object.
    Rows are counted from 1 in messages, as lines mean little there.

    Raises:
        TransformerError: if rows differ in kind or length, and as `read_text`.
    """
    text = read_text(path)
    try:
        whole = _parse(path, 1, text)
    except TransformerError:
        return None
    if not isinstance(whole, dict):
        return None
    tables = {}
    for key, rows in whole.items():
        if not isinstance(rows, list) or not rows:
            continue
        name, lines = f"{path}[{key}]", list(range(1, len(rows) + 1))
        kind = type(rows[0])
        for row, line in zip(rows, lines, strict=True):
            if type(row) is not kind or (kind is list and len(row) != len(rows[0])):
                raise TransformerError(f"{name}:{line}: this row is unlike the first one")
        if kind is dict:
            tables[key] = _table(name, rows, lines)
        elif kind is list and len(rows[0]) == 2:
            tables[key] = Table(name, ("text", "label"), rows, lines)
        elif kind is list:
            tables[key] = Table(name, tuple(str(i + 1) for i in range(len(rows[0]))), rows, lines)
    return tables or None


def _table(name: str, objects: list[dict], lines: list[int]) -> Table:
    names = tuple(dict.fromkeys(key for value in objects for key in value))
    if not names:
        raise TransformerError(f"{name} has no columns: its objects are empty")
    return Table(name, names, [[value.get(key, MISSING) for key in names] for value in objects], lines)


class _KeyTwice(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _KeyTwice(next(name for name in names if names.count(name) > 1))
    return found


def _parse(path: Path, line: int, text: str):
    try:
        return json.loads(
            text, parse_int=str, parse_float=str, parse_constant=lambda _: None, object_pairs_hook=_object
        )
    except _KeyTwice as error:
        raise TransformerError(
            f"{path}:{line}: an object must have each key once; {error.args[0]!r:.40} is there twice"
        ) from None
    except json.JSONDecodeError as error:
        raise TransformerError(f"{path}:{line + error.lineno - 1}: not JSON: {error.msg}") from error
    except RecursionError as error:
        raise TransformerError(f"{path}:{line}: JSON nested too deeply") from error
