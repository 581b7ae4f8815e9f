"""What the target of one example looks like: a label, labels, a number, one label a token, spans, or a sequence.

A task declares it once (`TextTask.target_spec`); batching, padding and weighting read it from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tftransformer.errors import TransformerError


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


@dataclass(frozen=True)
class TargetSpec:
    """The declaration: what the target of one example is in a batch.

    An axis of no fixed size, None, comes first where there is one: batches pad it, and weights are then (B, S), 0 at
    padding and at what is to be ignored, so that a loss of each item need not treat either.

    Args:
        shape: Shape of one target: () for a label or a number, (C,) for one column a label, (2,) for the start and end of a
            span, (None,) for one label a token or a sequence, (None, 2) for spans.
        dtype: Dtype of its numbers.
        per_token: The first axis has an item for each token of the text, special tokens included.
        pad: Number that a batch is padded with.
        ignore: An item that does not count, such as the label of a special token. Batches hold 0 in its place, which
            every loss can take, and the weight 0.
        begin: For sequences that a decoder learns to continue: the number before the first item. Batches then hold, beside
            the encoder's inputs, what a decoder is given: the same items one place later (`decoder_token_ids`) and
            which of them are real (`decoder_padding_mask`).

    Raises:
        TransformerError: An axis of no fixed size that is not the first, or arguments that are for such an axis alone.

    Example:
        >>> TargetSpec((None,), per_token=True, ignore=-1).grows
        True
    """

    shape: tuple[int | None, ...] = ()
    dtype: str = "int32"
    per_token: bool = False
    pad: float = 0
    ignore: int | None = None
    begin: int | None = None

    def __post_init__(self) -> None:
        if None in self.shape[1:]:
            raise TransformerError(f"shape may have None as its first axis alone; got {self.shape}")
        if not self.grows and (self.per_token or self.ignore is not None or self.begin is not None):
            raise TransformerError(
                f"per_token, ignore and begin are for a shape that begins with None; got {self.shape}"
            )

    @property
    def grows(self) -> bool:
        """Whether rows have different numbers of items."""
        return bool(self.shape) and self.shape[0] is None

    def check(self, values: Any, lengths: np.ndarray) -> np.ndarray | Ragged:
        """Targets of examples as batches take them.

        Args:
            values: An array (B, *shape), or a `Ragged` of B rows.
            lengths: (B,) tokens of each text.

        Raises:
            TransformerError: They are not what is declared.
        """
        wanted = f"targets must be {self}"
        if self.grows != isinstance(values, Ragged):
            raise TransformerError(f"{wanted}; got {type(values).__name__}")
        if len(values) != len(lengths):
            raise TransformerError(f"targets must be as many as texts, {len(lengths)}; got {len(values)}")
        items = values.values if isinstance(values, Ragged) else values
        if items.shape[1:] != self.shape[self.grows :]:
            raise TransformerError(f"{wanted}; got items of shape {items.shape[1:]}")
        if self.per_token and (other := np.flatnonzero(values.lengths != lengths)).size:
            row = int(other[0])
            raise TransformerError(
                f"targets must be one for each token; row {row} (from 0) has {lengths[row]} tokens and "
                f"{values.lengths[row]} targets"
            )
        if isinstance(values, Ragged):
            return Ragged(np.asarray(values.values, self.dtype), values.row_splits)
        return np.asarray(values, self.dtype)

    def length(self, lengths: np.ndarray, padded: int) -> int:
        """Length that the targets of a batch are padded to whose tokens are padded to `padded`."""
        return padded if self.per_token else int(lengths.max(initial=0))

    def padded(self, rows: Ragged, padded: int, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """A batch of rows that grow.

        Args:
            rows: Rows of the batch.
            padded: Length that its tokens are padded to.
            weights: (B,), or None for 1.

        Returns:
            The targets (B, S, ...) and the weight of each item, float32 (B, S).
        """
        length = self.length(rows.lengths, padded)
        y = rows.padded(length, self.pad)
        counts = np.arange(length) < rows.lengths[:, None]
        if self.ignore is not None:
            ignored = (y == self.ignore) & counts
            counts &= ~ignored
            y = np.where(ignored, 0, y).astype(self.dtype)
        own = np.float32(1) if weights is None else weights.astype("float32")[:, None]
        return y, counts * own

    def decoder_inputs(self, rows: Ragged, length: int) -> dict[str, np.ndarray]:
        """What a decoder is given of a batch of sequences, int32 (B, length); nothing unless there is a `begin`."""
        if self.begin is None:
            return {}
        y = rows.padded(length, self.pad)
        first = np.full((len(rows), 1), self.begin, self.dtype)
        return {
            "decoder_token_ids": np.concatenate([first, y[:, :-1]], axis=1).astype("int32"),
            "decoder_padding_mask": (np.arange(length) < rows.lengths[:, None]).astype("int32"),
        }

    def __str__(self) -> str:
        axes = ", ".join("any" if size is None else str(size) for size in self.shape)
        return f"{self.dtype} of shape ({axes})" + (", one item a token" if self.per_token else "")


LABEL = TargetSpec()
NUMBER = TargetSpec(dtype="float32")
