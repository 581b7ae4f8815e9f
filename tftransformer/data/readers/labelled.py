"""From a table and its columns to a split: texts as they are, labels as names."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tftransformer.data.dedup import well_formed
from tftransformer.data.labels import SEVERAL, label_name
from tftransformer.data.numbers import as_number
from tftransformer.data.readers.columns import Columns, Table, choose
from tftransformer.data.readers.jsonl import MISSING
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError

_TRUE = frozenset({"1", "1.0", "true"})
_FALSE = frozenset({"0", "0.0", "false"})


def read_split(
    table: Table,
    name: str,
    *,
    text_columns: list[str],
    label_column: list[str],
    label_columns: list[str],
    label_delimiter: str | None = None,
    numeric: bool = False,
) -> Split:
    """`to_split` of the columns that `choose` finds."""
    table, columns = choose(table, text_columns, label_column, label_columns)
    return to_split(table, columns, name, label_delimiter, numeric)


def to_split(
    table: Table, columns: Columns, name: str, label_delimiter: str | None = None, numeric: bool = False
) -> Split:
    """Takes texts and labels out of the table.

    Texts are kept as they are, empty ones too; labels lose whitespace around them. Several labels come
    from a delimiter, from one 0/1 column each, or from JSON lists; such a row may have no label at all. Where targets
    are `numeric`, each named column is one number.

    Raises:
        TransformerError: with file and line, for a row without a label or without a text, or a cell of a
            wrong kind; or if there are no rows.
    """
    if not table.rows:
        raise TransformerError(f"{table.path} has a header row but no rows")
    lists = columns.label is not None and any(isinstance(row[columns.label], list) for row in table.rows)
    multi_label = not numeric and (bool(columns.labels) or bool(label_delimiter) or lists)
    texts, targets = [], []
    for row, line in zip(table.rows, table.lines, strict=True):
        where = f"{table.path}:{line}"
        cells = [text_of(row[i], where, table.names[i]) for i in columns.text]
        texts.append(cells[0] if len(cells) == 1 else tuple(cells))
        if numeric:
            targets.append(_numbers(row, columns, where, table.names))
        elif columns.labels:
            targets.append(_marked(row, columns.labels, where, table.names))
        elif multi_label:
            targets.append(_several(row[columns.label], label_delimiter, where, table.names[columns.label]))
        else:
            targets.append(_one(row[columns.label], where, table.names[columns.label]))
    labels = columns.labels or (columns.label,)
    taken = {*columns.text, *labels}
    roles = {"text": columns.text, "label": labels, "unused": (i for i in range(table.width) if i not in taken)}
    named = {role: tuple(table.names[i] for i in places) for role, places in roles.items()}
    return Split(texts, targets, name, multi_label, list(table.lines), table.path, named, numeric=numeric)


def text_of(cell: Any, where: str, column: str) -> str:
    """The text of a cell; `where` and `column` are for messages."""
    if cell is MISSING:
        raise TransformerError(f"{where}: no text, the row lacks {column!r}")
    if cell is None:
        return ""
    if not isinstance(cell, str):
        raise TransformerError(f"{where}: {column!r} must be a string; got a {type(cell).__name__}")
    return well_formed(cell)


def _numbers(row, columns: Columns, where: str, names: tuple[str, ...]) -> float | tuple[float, ...]:
    places = columns.labels or (columns.label,)
    values = tuple(as_number(None if row[i] is MISSING else row[i], repr(names[i]), where) for i in places)
    return values if columns.labels else values[0]


def _one(cell, where: str, column: str) -> str:
    if isinstance(cell, SEVERAL):
        raise TransformerError(f"{where}: {column!r} must be a label; got {cell!r}"[:200])
    name = None if cell is MISSING else label_name(cell)
    if name is None:
        infinite = isinstance(cell, (float, np.floating)) and math.isinf(cell)
        what = f"must be a label; got {cell!r}" if infinite else "is empty"
        raise TransformerError(f"{where}: a row without a label, {column!r} {what}")
    return name


def _several(cell, delimiter: str | None, where: str, column: str) -> tuple[str, ...]:
    if cell is MISSING or not isinstance(cell, SEVERAL) and label_name(cell) is None:
        return ()
    if isinstance(cell, list):
        items = [_one(item, where, column) for item in cell]
    else:
        cell = _one(cell, where, column) if not isinstance(cell, str) else cell
        items = [label_name(item) for item in (cell.split(delimiter) if delimiter else [cell])]
    return tuple(dict.fromkeys(item for item in items if item))


def _marked(row, positions: tuple[int, ...], where: str, names: tuple[str, ...]) -> tuple[str, ...]:
    marked = []
    for i in positions:
        value = "" if row[i] is MISSING or row[i] is None else str(row[i]).strip().lower()
        if value in _TRUE:
            marked.append(names[i])
        elif value not in _FALSE:
            what = f"got {value!r}" if value else "it is empty"
            raise TransformerError(f"{where}: label column {names[i]!r} must be 0 or 1; {what}")
    return tuple(marked)
