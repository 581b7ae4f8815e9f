"""Numbers as targets: reading them from strings, lists, arrays and columns, and bringing them to mean 0 and scale 1."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from tftransformer.data.tables import as_column, columns_of, is_table
from tftransformer.errors import TransformerError

# Stricter than `float`, which reads "1_000", "infinity" and the digits of every script.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_COMMA = re.compile(r"[+-]?[0-9.]*,[0-9.,]+")


def as_numbers(values: Any, what: str, *, dtype: str = "float32") -> np.ndarray:
    """Read the numbers of B rows, one a row or K of them.

    Args:
        values: B numbers or strings of numbers, or B rows of K each: a list, an array, a column, or a table of numeric
            columns. Booleans are no numbers.
        what: Name of the argument or column, for messages.
        dtype: Floating type of the result.

    Returns:
        (B,), or (B, K) where rows are lists of numbers. A table gives (B, K) for K columns, also for one.

    Raises:
        TransformerError: A value is missing, no number, not finite or too large for `dtype`, or rows differ in length.

    Example:
        >>> as_numbers(["4.5", 3, "1e-1"], "score").tolist()
        [4.5, 3.0, 0.10000000149011612]
        >>> as_numbers([[1, "2"], [3, 4]], "y").shape
        (2, 2)
        >>> as_numbers([1.0, "3,5"], "score")
        Traceback (most recent call last):
        ...
        tftransformer.errors.TransformerError: score must hold numbers; got '3,5' in row 1 (from 0); write 3.5, with a decimal point
    """
    array = _as_array(values, what)
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if not np.isfinite(result).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
        value = array[place].item()
        rule = f"numbers that {dtype} can hold" if math.isfinite(value) else "finite numbers"
        raise TransformerError(f"{what} must hold {rule}; got {value} in {_place(place)}")
    return result


def _as_array(values: Any, what: str) -> np.ndarray:
    """float64 (B,) or (B, K), which may hold NaN or infinity."""
    if is_table(values):
        columns = [_as_array(column, f"{what}: column {name!r}") for name, column in columns_of(values).items()]
        if not columns or any(column.ndim > 1 for column in columns):
            raise TransformerError(f"{what} must be columns of one number a row; got a {type(values).__name__}")
        return np.stack(columns, axis=-1)
    column = None if isinstance(values, (str, bytes, Mapping, set, frozenset)) else as_column(values)
    if column is None:
        raise TransformerError(f"{what} must be numbers in a list, an array or a column; got {values!r:.80}")
    if isinstance(column, np.ndarray):
        if column.ndim > 2:
            raise TransformerError(f"{what} must be (B,) or (B, K) numbers; got shape {column.shape}")
        if column.dtype.kind in "iuf":
            return np.ma.filled(np.ma.asarray(column).astype(np.float64), np.nan)
        column = column.tolist()
    return _from_list(column, what)


def _from_list(values: list, what: str) -> np.ndarray:
    nested = [hasattr(value, "__len__") and not isinstance(value, (str, bytes)) for value in values]
    if not any(nested):
        return np.array([as_number(value, what, _place((row,))) for row, value in enumerate(values)], np.float64)
    first = values[0]
    length = len(first) if nested[0] else None
    for row, value in enumerate(values):
        several = nested[row] and not isinstance(value, (Mapping, set, frozenset))
        if length is None and nested[row] or length is not None and (not several or len(value) != length):
            wanted = "one number in each row" if length is None else f"{length} numbers in each row, as in the first"
            shown = " ".join(repr(value).split())
            raise TransformerError(f"{what} must hold {wanted}; got {shown:.60} in row {row} (from 0)")
    rows = [[as_number(value, what, _place((i, k))) for k, value in enumerate(row)] for i, row in enumerate(values)]
    return np.array(rows, np.float64).reshape(len(values), len(first))


def as_number(value: Any, what: str, where: str) -> float:
    """Read one number; `what` it is and `where` it stands are for messages.

    Raises:
        TransformerError: It is missing or no number.

    Example:
        >>> as_number("4.5", "score", "line 2")
        4.5
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    # Decimal registers as Number, but as no Real.
    if isinstance(value, (numbers.Real, Decimal)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise TransformerError(
                f"{what} must hold numbers that a float can hold; got a larger one in {where}"
            ) from None
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value
    if isinstance(text, str):
        text = text.strip()
        if _NUMBER.fullmatch(text):
            return float(text)
        if _COMMA.fullmatch(text):
            hint = (
                f"write {text.replace(',', '.')}, with a decimal point" if text.count(",") == 1 else "write no commas"
            )
            raise TransformerError(f"{what} must hold numbers; got {text!r:.40} in {where}; {hint}")
    shown = repr(value) if value is None or isinstance(value, (str, bytes, bool, np.bool_)) else str(value)
    raise TransformerError(f"{what} must hold numbers; got {' '.join(shown.split()):.40} in {where}")


def _place(place: tuple[int, ...]) -> str:
    row = f"row {place[0]} (from 0)"
    return row if len(place) == 1 else f"{row}, number {place[1]} (from 0)"


@dataclass(frozen=True)
class Standardizer:
    """Bring numbers to mean 0 and standard deviation 1, and back.

    A network learns numbers of this size best, whatever the unit of the targets is.

    Args:
        mean: Mean of each of K numbers.
        scale: Standard deviation of each, above 0.

    Raises:
        TransformerError: Lengths that differ, a mean that is not finite, or a scale that is not positive.

    Example:
        >>> years = Standardizer.of([1990, 2010])
        >>> years.encode([2000, 2010]).tolist(), years.decode([0.5]).tolist()
        ([0.0, 1.0], [2005.0])
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            given = getattr(self, name)
            flat = as_numbers([given] if isinstance(given, numbers.Real) else given, name, dtype="float64")
            object.__setattr__(self, name, tuple(flat.ravel().tolist()))
        if len(self.mean) != len(self.scale) or not self.mean:
            raise TransformerError(
                f"mean and scale must hold one number for each column; got {len(self.mean)} and {len(self.scale)}"
            )
        if min(self.scale) <= 0:
            raise TransformerError(f"scale must be above 0; got {min(self.scale)}")

    @classmethod
    def of(cls, targets: Any) -> Standardizer:
        """Measure mean and standard deviation of (B,) or (B, K) training targets; a constant column has the scale 1."""
        values = as_numbers(targets, "targets", dtype="float64")
        if not len(values):
            raise TransformerError("targets must hold at least one row; got none")
        columns = values.reshape(len(values), -1)
        constant = np.ptp(columns, axis=0) == 0
        # Its standard deviation may come out as a rounding error, and so may its mean.
        deviation = columns.std(axis=0)
        scale = np.where(constant | (deviation == 0), 1.0, deviation)
        mean = np.where(constant, columns[0], columns.mean(axis=0))
        return cls(tuple(mean.tolist()), tuple(scale.tolist()))

    def encode(self, values: Any) -> np.ndarray:
        """Return float32 of the shape of `values`, (B,) or (B, K): less the mean, divided by the scale."""
        columns, shape = self._columns(values)
        return ((columns - self.mean) / self.scale).astype("float32").reshape(shape)

    def decode(self, values: Any) -> np.ndarray:
        """Return float32 of the shape of `values`, in the unit of the targets: the opposite of `encode`."""
        columns, shape = self._columns(values)
        return (columns * self.scale + self.mean).astype("float32").reshape(shape)

    def _columns(self, values: Any) -> tuple[np.ndarray, tuple[int, ...]]:
        array = as_numbers(values, "values", dtype="float64")
        width = array.shape[1] if array.ndim == 2 else 1
        if width != len(self.mean):
            raise TransformerError(f"values must have {len(self.mean)} numbers in each row; got {width}")
        return array.reshape(len(array), width), array.shape
