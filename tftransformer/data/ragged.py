"""Rows of different lengths kept flat, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


def row_splits(lengths: np.ndarray) -> np.ndarray:
    """int64 (B + 1,): where rows of these lengths begin that are one after another, and the end."""
    return np.concatenate([[0], np.cumsum(lengths, dtype="int64")])


def row_places(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """starts[0], starts[0] + 1, … (lengths[0] of them), starts[1], …: the places of all items of some rows."""
    splits = row_splits(lengths)
    return np.arange(splits[-1]) + np.repeat(starts - splits[:-1], lengths)


@dataclass(frozen=True)
class Ragged:
    """B rows of items, each row with as many as it has, kept flat.

    Args:
        values: All items, one row after another; the axes behind the first are those of an item.
        row_splits: int64 (B + 1,): the items of row i are `values[row_splits[i]:row_splits[i + 1]]`.

    Example:
        >>> ragged = Ragged.of([[7, 8], [], [9]], "int32")
        >>> ragged.lengths.tolist(), ragged[np.array([2, 0])].padded(3, fill=-1).tolist()
        ([2, 0, 1], [[9, -1, -1], [7, 8, -1]])
    """

    values: np.ndarray
    row_splits: np.ndarray

    @classmethod
    def of(cls, rows: Sequence[Any], dtype: str, item: tuple[int, ...] = ()) -> Ragged:
        """From a list of lists of items of shape `item`."""
        values = [np.asarray(row, dtype).reshape(-1, *item) for row in rows]
        return cls(np.concatenate([np.zeros((0, *item), dtype), *values]), row_splits([len(row) for row in values]))

    @classmethod
    def joined(cls, parts: Sequence[Ragged]) -> Ragged:
        """The rows of some, one after another."""
        splits = row_splits(np.concatenate([part.lengths for part in parts]))
        return cls(np.concatenate([part.values for part in parts]), splits)

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (B,): items of each row."""
        return np.diff(self.row_splits)

    @property
    def dtype(self) -> np.dtype:
        """Dtype of the items."""
        return self.values.dtype

    def __getitem__(self, indices: np.ndarray) -> Ragged:
        lengths = self.lengths[indices]
        return Ragged(self.values[row_places(self.row_splits[indices], lengths)], row_splits(lengths))

    def padded(self, length: int, fill: float = 0) -> np.ndarray:
        """(B, length, ...): the rows with `fill` behind their items."""
        result = np.full((len(self), length, *self.values.shape[1:]), fill, self.dtype)
        result[np.arange(length) < self.lengths[:, None]] = self.values
        return result
