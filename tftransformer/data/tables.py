"""Columns and tables of other libraries, recognised by their methods, so that none of these has to be installed.

A column is a list, a tuple, an array, a pandas or polars Series or Index, a pyarrow array, a tensor. A table has
columns by name: a pandas or polars DataFrame, a pyarrow Table.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError

# pyarrow, then pandas and polars: all give Python's own values.
_TO_LIST = ("to_pylist", "to_list")


def as_column(values: Any) -> list | np.ndarray | None:
    """The values of a column as a list or an array; None where these are none.

    Example:
        >>> as_column(("a", "b")), as_column(3)
        (['a', 'b'], None)
    """
    for method in _TO_LIST:
        if hasattr(values, method):
            return getattr(values, method)()
    if hasattr(values, "numpy"):  # an eager tensor
        values = values.numpy()
    if isinstance(values, np.ndarray):
        return values.reshape(1) if values.ndim == 0 else values
    if is_table(values):
        return None
    if hasattr(values, "__array__") and not hasattr(values, "__iter__"):
        return np.asarray(values)
    try:
        return list(values)
    except TypeError:
        return None


def is_table(values: Any) -> bool:
    """Return whether `values` are columns by name."""
    return hasattr(values, "column_names") or hasattr(values, "columns") and hasattr(values, "__getitem__")


def columns_of(table: Any) -> dict[str, Any]:
    """The columns of a table by name, in their order.

    Raises:
        TransformerError: Two columns have one name.
    """
    # A pyarrow table's `columns` are the columns themselves.
    names = list(table.column_names if hasattr(table, "column_names") else table.columns)
    # Before a look into them: pyarrow has an error of its own for two of one name.
    if len(set(map(str, names))) < len(names):
        twice = min(name for name, count in Counter(map(str, names)).items() if count > 1)
        raise TransformerError(f"a table must have columns of different names; got {twice!r} twice")
    return {str(name): table[name] for name in names}


def the_column(table: Any, argument: str) -> Any:
    """The only column of a table.

    Raises:
        TransformerError: It has several, or none; the message begins with the argument.
    """
    columns = columns_of(table)
    if len(columns) != 1:
        shown = ", ".join(list(columns)[:8]) or "none"
        raise TransformerError(f"{argument} must be one column; got a {type(table).__name__} of {shown}")
    return next(iter(columns.values()))
