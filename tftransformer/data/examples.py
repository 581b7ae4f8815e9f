"""Tokenised examples, kept flat: as much memory as there are tokens, and no padding."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TextIO

import numpy as np

from tftransformer.data.records import Records
from tftransformer.data.row_packing import FlatRows, Packer, packer
from tftransformer.data.token_store import TokenStore
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

__all__ = ["Examples", "build_examples", "packer"]

# With fewer texts at a time, starting the operations takes longer than they do.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 1 << 20


@dataclass(frozen=True)
class Examples:
    """B packed token sequences, special tokens included.

    Args:
        token_ids: int32, all sequences one after another.
        row_splits: int64 (B + 1,): sequence i is `token_ids[row_splits[i]:row_splits[i + 1]]`.
        boundaries: int32 (B,): how many tokens of each sequence belong to segment 0.
        full_lengths: int32 (B,): tokens before trimming to max_length, special tokens included.
        labels: int32 (B,), float32 (B, C), or None.
        weights: float32 (B,), or None.
        pad_id: Id that pads.
    """

    token_ids: np.ndarray
    row_splits: np.ndarray
    boundaries: np.ndarray
    full_lengths: np.ndarray
    labels: np.ndarray | None = None
    weights: np.ndarray | None = None
    pad_id: int = 0

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (B,): tokens of each sequence."""
        return np.diff(self.row_splits)

    @property
    def segments(self) -> np.ndarray:
        """(B,) segments of each sequence: 2 for a pair of texts, else 1."""
        return 1 + (self.boundaries < self.lengths)

    def features(self, indices: np.ndarray, length: int) -> dict[str, np.ndarray]:
        """The inputs of a model for these rows, padded to `length`.

        Returns:
            `token_ids`, `segment_ids` and `padding_mask`, each int32 (B, T) with T = length.
        """
        columns = np.arange(length)
        row_lengths = (self.row_splits[indices + 1] - self.row_splits[indices])[:, None]
        mask = columns < row_lengths
        places = np.minimum(self.row_splits[indices][:, None] + columns, max(len(self.token_ids) - 1, 0))
        return {
            "token_ids": np.where(mask, self.token_ids[places], self.pad_id).astype("int32"),
            "segment_ids": (mask & (columns >= self.boundaries[indices][:, None])).astype("int32"),
            "padding_mask": mask.astype("int32"),
        }

    def batch(self, indices: np.ndarray, length: int):
        """What Keras takes for these rows: x, (x, y), or (x, y, weight)."""
        x = self.features(indices, length)
        if self.labels is None:
            return x
        if self.weights is None:
            return x, self.labels[indices]
        return x, self.labels[indices], self.weights[indices]

    def take(self, indices: Sequence[int]) -> Examples:
        """The rows at these positions."""
        indices = np.asarray(indices, "int64")
        lengths = self.lengths[indices]
        row_splits = np.concatenate([[0], np.cumsum(lengths)]).astype("int64")
        places = np.repeat(self.row_splits[indices] - row_splits[:-1], lengths) + np.arange(row_splits[-1])
        return Examples(
            self.token_ids[places],
            row_splits,
            self.boundaries[indices],
            self.full_lengths[indices],
            None if self.labels is None else self.labels[indices],
            None if self.weights is None else self.weights[indices],
            self.pad_id,
        )

    def first(self, count: int) -> Examples:
        """The first rows, as many or all."""
        return self.take(range(min(len(self), count)))

    def labelled_as(self, other: Examples, indices: np.ndarray) -> Examples:
        """The same tokens with the labels and weights of these rows of other examples."""
        labels, weights = (None if v is None else v[indices] for v in (other.labels, other.weights))
        return replace(self, labels=labels, weights=weights)


def joined(parts: Sequence[Examples]) -> Examples:
    """Examples one after another; all or none have labels, and weights."""

    def together(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    lengths = np.concatenate([part.lengths for part in parts])
    return Examples(
        together("token_ids"),
        np.concatenate([[0], np.cumsum(lengths)]).astype("int64"),
        *(together(name) for name in ("boundaries", "full_lengths", "labels", "weights")),
        parts[0].pad_id,
    )


def build_examples(
    records: Records,
    labels: np.ndarray | None = None,
    *,
    tokenize: Callable,
    pack: Packer,
    pad_id: int = 0,
    stream: TextIO | None = None,
) -> Examples:
    """Tokenises every text once, some thousand at a time on every core.

    What it holds besides the result is as much as a few chunks need; the tokens of a large corpus lie in a
    temporary file (`TokenStore`).

    Args:
        records: The texts, and the weights that go with them.
        labels: int32 (B,) or float32 (B, C) from `encode_targets`, or None.
        tokenize: `tokenize(texts (B,) string) -> RaggedTensor int32 (B, None)`.
        pack: Adds special tokens and trims to max_length; from `packer`.
        pad_id: The id that padding has.
        stream: Where progress is shown; stderr by default.

    Raises:
        TransformerError: if labels are not as many as texts, or max_length is too short for the special tokens.

    Example:
        >>> examples = build_examples(
        ...     Records(["good", "a bad film"]), tokenize=tokenizer.tokenize, pack=packer(tokenizer, 128)
        ... )
        >>> examples.lengths.tolist()
        [3, 5]
    """
    if labels is not None and len(labels) != len(records):
        raise TransformerError(f"labels must be as many as texts, {len(records)}; got {len(labels)}")
    sides = [records.first] if records.second is None else [records.first, records.second]

    def encode(chunk: slice) -> FlatRows:
        import tensorflow as tf

        # Small operations without end: copying them to an accelerator would take longer than they do.
        with tf.device("CPU"):
            return pack.flat(*(tokenize(tf.constant(side[chunk], tf.string)) for side in sides))

    tokens = TokenStore()
    rows: dict[str, list[np.ndarray]] = {"lengths": [], "boundaries": [], "full_lengths": []}
    with Progress(len(records), "tokenising", stream=stream) as bar:
        for part in _encoded(_chunks(sides), encode):
            tokens.append(part.token_ids)
            for name, parts in rows.items():
                parts.append(getattr(part, name))
            bar.update(len(part.lengths))

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0, "int32"), *rows.pop(name)])

    return Examples(
        tokens.finish(),
        np.concatenate([[0], np.cumsum(column("lengths"), dtype="int64")]),
        column("boundaries"),
        column("full_lengths"),
        labels,
        records.weights,
        pad_id,
    )


def _chunks(sides: list[list[str]]) -> list[slice]:
    """Consecutive rows, few enough that tokenising them takes little memory even where texts are long."""
    lengths = np.zeros(len(sides[0]), "int64")
    for side in sides:
        lengths += np.fromiter(map(len, side), "int64", len(side))
    before = np.concatenate([[0], np.cumsum(lengths)])
    chunks, start = [], 0
    while start < len(lengths):
        full = int(np.searchsorted(before, before[start] + CHUNK_CHARACTERS, "right")) - 1
        stop = min(max(full, start + 1), start + CHUNK_TEXTS, len(lengths))
        chunks.append(slice(start, stop))
        start = stop
    return chunks


def _encoded(chunks: list[slice], encode: Callable[[slice], FlatRows]) -> Iterator[FlatRows]:
    """The chunks in order, two ahead of each core at most, so that the results do not pile up."""
    if len(chunks) < 2:
        yield from map(encode, chunks)
        return
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting = deque(pool.submit(encode, chunk) for chunk in chunks[: 2 * workers])
        for following in [*chunks[2 * workers :], *[None] * len(waiting)]:
            yield waiting.popleft().result()
            if following is not None:
                waiting.append(pool.submit(encode, following))
