"""The finished cells of `defaults.py`: a line of JSON each, in a file for each half, encoder and contender.

A line is added when its cell is finished, so work that is killed anywhere goes on where it was, and runs of different
contenders may share a folder. To have a contender again, delete its files.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defaults_choice import Cell
from defaults_sets import SETS

from tftransformer.errors import TransformerError
from tftransformer.files import disk_errors, plain

_KEY = tuple(field.name for field in dataclasses.fields(Cell))


def read_cells(folder: Path) -> dict[Cell, dict[str, Any]]:
    """What is finished; the last line of a cell counts, and a line that was cut off does not."""
    found: dict[Cell, dict[str, Any]] = {}
    for path in sorted((Path(folder) / "cells").glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            try:
                piece = json.loads(line)
            except ValueError:
                continue
            if not isinstance(piece, dict) or any(name not in piece for name in _KEY) or piece["set"] not in SETS:
                raise TransformerError(f"{path} must hold cells with {', '.join(_KEY)}; got {line[:80]!r}")
            found[Cell(*(piece[name] for name in _KEY))] = piece
    return found


def add_cell(folder: Path, cell: Cell, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write a cell, whether it went well or has a `failure`; what was written."""
    piece = plain({"half": cell.half, **dataclasses.asdict(cell), **figures}, "cell")
    name = "".join(c if c.isalnum() or c in "-+." else "_" for c in f"{cell.half}-{cell.encoder}-{cell.contender}")
    path = Path(folder) / "cells" / f"{name}.jsonl"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(piece, ensure_ascii=False) + "\n"
        # What a full disk cut off stays a line of its own.
        if path.exists() and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            line = "\n" + line
        # One call of the system: either the whole line is there or nothing of it.
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
    return piece


def check_same(finished: Mapping[Cell, Mapping[str, Any]], cell: Cell, name: str, value: Any) -> None:
    """Raise a `TransformerError` unless finished cells of the same rows (`rows_digest`) or encoder (`weights`) agree.

    Args:
        finished: Of `read_cells`.
        cell: That is to be made.
        name: "rows_digest" or "weights".
        value: What it has.
    """
    keys = ("set", "size", "seed") if name == "rows_digest" else ("encoder",)
    for other, piece in finished.items():
        alike = all(getattr(other, key) == getattr(cell, key) for key in keys)
        if alike and piece.get(name) not in (None, value):
            what = "data must hold the rows" if name == "rows_digest" else f"{cell.encoder} must have the weights"
            raise TransformerError(f"{what} of the finished cells; {other.describe()}, has others")
