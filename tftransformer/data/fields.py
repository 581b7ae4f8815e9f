"""Fields: the named columns of examples, each with all that is to be known of how its rows become batches.

A field says how its rows are taken, joined, padded and hashed, and what shapes a batch of them has. Code that batches,
shuffles, packs or stores asks the field, so that a new kind of input or target is a class here and nothing else.
"""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from tftransformer.data.ragged import Ragged
from tftransformer.errors import TransformerError

# What a target is called in the batches of its field: what the loss compares, and how much each item of it counts.
TARGETS, TARGET_WEIGHTS = "targets", "target_weights"
# Shape without the axis of the rows, None where batches differ, and dtype.
Spec = dict[str, tuple[tuple[int | None, ...], str]]


class Field(abc.ABC):
    """Values of B rows.

    A field of inputs names its arrays as the network reads them. That of a target calls its own `TARGETS`, how much each
    item counts `TARGET_WEIGHTS`, and all others are for the network, too.
    """

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @property
    def lengths(self) -> np.ndarray | None:
        """int64 (B,): what rows of like size are found by; None where all are of one size, or of another field's."""
        return None

    @abc.abstractmethod
    def take(self, rows: np.ndarray) -> Self:
        """Return the rows at these positions."""

    @classmethod
    @abc.abstractmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        """Put the rows of several one after another."""

    @abc.abstractmethod
    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Return padded arrays by name.

        Args:
            rows: Positions of the rows.
            length: Length that the batch's tokens are padded to; who has none does not look at it.
        """

    @abc.abstractmethod
    def spec(self) -> Spec:
        """Return shape and dtype of each array of `batch`."""

    def digests(self) -> list[bytes]:
        """Return for each row a hash of its values, by which stores find it."""
        rows = (self.batch(np.array([row]), 0) for row in range(len(self)))
        return [digest(b"".join(values.tobytes() for values in row.values())) for row in rows]

    def check(self, lengths: np.ndarray) -> None:
        """Refuse rows that do not go with as many tokens a text (B,)."""
        if len(self) != len(lengths):
            raise TransformerError(f"targets must be as many as texts, {len(lengths)}; got {len(self)}")


def digest(value: bytes) -> bytes:
    """Return a hash of 16 bytes."""
    return hashlib.blake2b(value, digest_size=16).digest()


@dataclass(frozen=True)
class Tokens(Field):
    """Packed token sequences, special tokens included, kept flat: as much memory as there are tokens.

    Args:
        token_ids: int32, all sequences one after another.
        row_splits: int64 (B + 1,): sequence i is `token_ids[row_splits[i]:row_splits[i + 1]]`.
        boundaries: int32 (B,): how many tokens of each sequence belong to segment 0.
        full_lengths: int32 (B,): tokens before trimming to sequence_length, special tokens included.
        pad_id: Id that pads.

    Example:
        >>> tokens = Tokens(np.array([2, 7, 3, 2, 3]), np.array([0, 3, 5]), np.array([3, 2]), np.array([3, 2]))
        >>> tokens.batch(np.array([1, 0]), 4)["token_ids"].tolist()
        [[2, 3, 0, 0], [2, 7, 3, 0]]
    """

    token_ids: np.ndarray
    row_splits: np.ndarray
    boundaries: np.ndarray
    full_lengths: np.ndarray
    pad_id: int = 0

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """int64 (B,): tokens of each sequence."""
        return np.diff(self.row_splits)

    @property
    def segments(self) -> np.ndarray:
        """(B,) segments of each sequence: 2 for a pair of texts, else 1."""
        return 1 + (self.boundaries < self.lengths)

    def take(self, rows: np.ndarray) -> Tokens:
        tokens = Ragged(self.token_ids, self.row_splits)[rows]
        return Tokens(tokens.values, tokens.row_splits, self.boundaries[rows], self.full_lengths[rows], self.pad_id)

    @classmethod
    def concat(cls, parts: Sequence[Tokens]) -> Tokens:
        tokens = Ragged.joined([Ragged(part.token_ids, part.row_splits) for part in parts])
        boundaries, full = (
            np.concatenate([getattr(p, name) for p in parts]) for name in ("boundaries", "full_lengths")
        )
        return cls(tokens.values, tokens.row_splits, boundaries, full, parts[0].pad_id)

    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """Return `token_ids`, `segment_ids` and `padding_mask`, each int32 (B, T) with T = length."""
        columns = np.arange(length)
        mask = columns < self.lengths[rows][:, None]
        places = np.minimum(self.row_splits[rows][:, None] + columns, max(len(self.token_ids) - 1, 0))
        return {
            "token_ids": np.where(mask, self.token_ids[places], self.pad_id).astype("int32"),
            "segment_ids": (mask & (columns >= self.boundaries[rows][:, None])).astype("int32"),
            "padding_mask": mask.astype("int32"),
        }

    def spec(self) -> Spec:
        return {name: ((None,), "int32") for name in ("token_ids", "segment_ids", "padding_mask")}

    def digests(self) -> list[bytes]:
        """Return for each row a hash of its tokens and of how many of them belong to segment 0.

        Example:
            >>> ids, splits = np.array([2, 7, 3, 2, 7, 3]), np.array([0, 3, 6])
            >>> one, two = Tokens(ids, splits, np.array([3, 3]), np.array([3, 3])).digests()
            >>> one == two, len(one)
            (True, 16)
        """
        ids, splits = np.ascontiguousarray(self.token_ids, "<i4"), self.row_splits.tolist()
        return [
            digest(ids[splits[i] : splits[i + 1]].tobytes() + boundary.to_bytes(4, "little"))
            for i, boundary in enumerate(self.boundaries.tolist())
        ]


@dataclass(frozen=True)
class Values(Field):
    """One array of a fixed shape a row: a label, one column for each label, a number or several, the ends of a span.

    Args:
        values: (B, ...).
        name: Name of the array in a batch.

    Example:
        >>> Values(np.array([1, 0, 2])).take(np.array([2, 0])).batch(np.array([0]), 8)
        {'targets': array([2])}
    """

    values: np.ndarray
    name: str = TARGETS

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray) -> Values:
        return replace(self, values=self.values[rows])

    @classmethod
    def concat(cls, parts: Sequence[Values]) -> Values:
        return replace(parts[0], values=np.concatenate([part.values for part in parts]))

    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        return {self.name: self.values[rows]}

    def spec(self) -> Spec:
        return {self.name: (self.values.shape[1:], self.values.dtype.name)}


@dataclass(frozen=True)
class Sequences(Field):
    """Targets of which each row has as many as it has: the tokens of a text to be written, spans.

    Batches pad them, and `TARGET_WEIGHTS` (B, S) is 0 at padding and at what is to be ignored, so that a loss of each
    item need not treat either; it wants `reduction="mean_with_sample_weight"`.

    Args:
        items: The items of each row; all of one shape.
        pad: Number that a batch is padded with.
        ignore: An item that does not count. Batches hold 0 in its place, which every loss can take, and the weight 0.
        begin: For tokens that a decoder learns to write: the id before the first of them. Batches then hold, beside the
            encoder's inputs, what a decoder is given: the same items one place later (`decoder_token_ids`) and which
            of them are real (`decoder_padding_mask`).

    Example:
        >>> batch = Sequences(Ragged.of([[7, 8], [9]], "int32"), begin=1).batch(np.array([0, 1]), 0)
        >>> batch["targets"].tolist(), batch["decoder_token_ids"].tolist()
        ([[7, 8], [9, 0]], [[1, 7], [1, 9]])
    """

    items: Ragged
    pad: float = 0
    ignore: int | None = None
    begin: int | None = None

    def __len__(self) -> int:
        return len(self.items)

    @property
    def lengths(self) -> np.ndarray | None:
        return self.items.lengths

    def take(self, rows: np.ndarray) -> Self:
        return replace(self, items=self.items[rows])

    @classmethod
    def concat(cls, parts: Sequence[Self]) -> Self:
        return replace(parts[0], items=Ragged.joined([part.items for part in parts]))

    def batch(self, rows: np.ndarray, length: int) -> dict[str, np.ndarray]:
        items = self.items[rows]
        length = self._padded_length(items, length)
        real = np.arange(length) < items.lengths[:, None]
        targets = items.padded(length, self.pad)
        batch = {TARGETS: targets, TARGET_WEIGHTS: real.astype("float32")}
        if self.ignore is not None:
            ignored = (targets == self.ignore) & real
            batch[TARGETS] = np.where(ignored, 0, targets).astype(targets.dtype)
            batch[TARGET_WEIGHTS][ignored] = 0
        if self.begin is not None:
            first = np.full((len(items), 1), self.begin, "int32")
            batch["decoder_token_ids"] = np.concatenate([first, targets[:, :-1].astype("int32")], axis=1)
            batch["decoder_padding_mask"] = real.astype("int32")
        return batch

    def digests(self) -> list[bytes]:
        values, splits = np.ascontiguousarray(self.items.values), self.items.row_splits.tolist()
        return [digest(values[start:end].tobytes()) for start, end in zip(splits, splits[1:])]

    def _padded_length(self, items: Ragged, length: int) -> int:
        return int(items.lengths.max(initial=0))

    def spec(self) -> Spec:
        spec: Spec = {
            TARGETS: ((None, *self.items.values.shape[1:]), self.items.dtype.name),
            TARGET_WEIGHTS: ((None,), "float32"),
        }
        if self.begin is not None:
            spec |= {name: ((None,), "int32") for name in ("decoder_token_ids", "decoder_padding_mask")}
        return spec


@dataclass(frozen=True)
class TokenLabels(Sequences):
    """Targets with an item for each token of a text, special tokens included; arguments as of `Sequences`.

    Example:
        >>> batch = TokenLabels(Ragged.of([[-1, 4, -1]], "int32"), ignore=-1).batch(np.array([0]), 4)
        >>> batch["targets"].tolist(), batch["target_weights"].tolist()
        ([[0, 4, 0, 0]], [[0.0, 1.0, 0.0, 0.0]])
    """

    @property
    def lengths(self) -> None:
        return None

    def check(self, lengths: np.ndarray) -> None:
        super().check(lengths)
        if (other := np.flatnonzero(self.items.lengths != lengths)).size:
            row = int(other[0])
            raise TransformerError(
                f"targets must be one for each token; row {row} (from 0) has {lengths[row]} tokens and "
                f"{self.items.lengths[row]} targets"
            )

    def _padded_length(self, items: Ragged, length: int) -> int:
        return length
