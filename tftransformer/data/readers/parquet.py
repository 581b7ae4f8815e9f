"""Parquet files, by pyarrow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from tftransformer.data.readers.columns import Table
from tftransformer.data.tables import columns_of
from tftransformer.errors import TransformerError


def read_parquet(path: Path) -> Table:
    """Reads a file into a table of the kinds of cells that JSON gives: numbers as text, NaN as null; rows count from 1.

    Raises:
        TransformerError: It is no Parquet file, two columns have one name, or pyarrow is missing.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise TransformerError(f"{path}: Parquet files need pyarrow (pip install pyarrow)") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = columns_of(file.read())
    except (pyarrow.ArrowException, OSError) as error:
        raise TransformerError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    cells = [[_cell(value) for value in column.to_pylist()] for column in columns.values()]
    rows = list(zip(*cells, strict=True))
    return Table(str(path), tuple(columns), rows, list(range(1, len(rows) + 1)))


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return [_cell(item) for item in value]
    if value is None or isinstance(value, (str, bool, dict)):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
