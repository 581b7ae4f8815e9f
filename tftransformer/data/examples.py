"""Tokenised examples, kept flat: as much memory as there are tokens, and no padding."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TextIO

import numpy as np

from tftransformer.data.row_packing import FlatRows, Packer
from tftransformer.data.targets import LABEL, Ragged, TargetSpec, row_splits
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError
from tftransformer.progress import Progress

# With fewer texts at a time, starting the operations takes longer than they do.
CHUNK_TEXTS = 4096
CHUNK_CHARACTERS = 1 << 20
ROW_NUMBERS = "row_numbers"


@dataclass(frozen=True)
class Examples:
    """B packed token sequences, special tokens included.

    Args:
        token_ids: int32, all sequences one after another.
        row_splits: int64 (B + 1,): sequence i is `token_ids[row_splits[i]:row_splits[i + 1]]`.
        boundaries: int32 (B,): how many tokens of each sequence belong to segment 0.
        full_lengths: int32 (B,): tokens before trimming to sequence_length, special tokens included.
        targets: An array or a `Ragged`, as `target_spec` says; None without.
        weights: float32 (B,), or None.
        pad_id: Id that pads.
        target_spec: Declaration of a target, from the task.
        maker: Settings they were made with, equal for two tasks that can share them.
        all_texts: The texts that they and the rows beside them were made of; None where nobody kept them.
        numbers: int64 (B,): which of `all_texts` each is; None: all, in order.
        numbered: Batches hold `row_numbers` (B,) beside a model's inputs: which of these examples each row is. For steps
            that look something up, and take the numbers out again.
    """

    token_ids: np.ndarray
    row_splits: np.ndarray
    boundaries: np.ndarray
    full_lengths: np.ndarray
    targets: np.ndarray | Ragged | None = None
    weights: np.ndarray | None = None
    pad_id: int = 0
    target_spec: TargetSpec = LABEL
    maker: Any = None
    all_texts: Texts | None = None
    numbers: np.ndarray | None = None
    numbered: bool = False

    def __len__(self) -> int:
        return len(self.row_splits) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 (B,): tokens of each sequence."""
        return np.diff(self.row_splits)

    @property
    def order(self) -> np.ndarray:
        """int64 (B,): by which rows are sorted that are to stand in batches with little padding: the length, or where
        targets are sequences of their own first theirs, whose every item costs a row of logits."""
        lengths = self.lengths
        if not isinstance(self.targets, Ragged) or self.target_spec.per_token:
            return lengths
        return self.targets.lengths * (int(lengths.max(initial=0)) + 1) + lengths

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
        if self.numbered:
            x[ROW_NUMBERS] = np.asarray(indices, "int64")
        if self.targets is None:
            return x
        y, weights = self.targets[indices], None if self.weights is None else self.weights[indices]
        if isinstance(y, Ragged):
            rows = y
            y, weights = self.target_spec.padded(rows, length, weights)
            x |= self.target_spec.decoder_inputs(rows, y.shape[1])
        return (x, y) if weights is None else (x, y, weights)

    def take(self, indices: Sequence[int]) -> Examples:
        """The rows at these positions."""
        indices = np.asarray(indices, "int64")
        tokens = Ragged(self.token_ids, self.row_splits)[indices]
        return Examples(
            tokens.values,
            tokens.row_splits,
            self.boundaries[indices],
            self.full_lengths[indices],
            None if self.targets is None else self.targets[indices],
            None if self.weights is None else self.weights[indices],
            self.pad_id,
            self.target_spec,
            self.maker,
            self.all_texts,
            indices if self.numbers is None else self.numbers[indices],
        )

    def keep(self, weights: np.ndarray | None) -> Examples:
        """The rows whose weight (B,) is not 0; all for None."""
        return self if weights is None or weights.all() else self.take(np.flatnonzero(weights))

    def num_batches(self, batch_size: int, copies: int = 1) -> int:
        """Batches of an epoch in which each row comes `copies` times; the last one may be smaller."""
        return num_batches(len(self) * copies, batch_size)

    def first(self, count: int) -> Examples:
        """The first rows, as many or all."""
        return self.take(range(min(len(self), count)))

    def labelled_as(self, other: Examples, indices: np.ndarray) -> Examples:
        """The same tokens with the targets and weights of these rows of other examples."""
        targets, weights = (None if v is None else v[indices] for v in (other.targets, other.weights))
        return replace(self, targets=targets, weights=weights, target_spec=other.target_spec)

    def texts(self) -> Texts:
        """The texts of these rows.

        Raises:
            TransformerError: Nobody kept them.
        """
        if self.all_texts is None:
            raise TransformerError("these examples have no texts; make them with a task's preprocess")
        return self.all_texts if self.numbers is None else self.all_texts.take(self.numbers)

    @cached_property
    def digests(self) -> list[bytes]:
        """What each row is found by in a store: a hash of its tokens and of how many of them belong to segment 0.

        Example:
            >>> ids, splits = np.array([2, 7, 3, 2, 7, 3]), np.array([0, 3, 6])
            >>> one, two = Examples(ids, splits, np.array([3, 3]), np.array([3, 3])).digests
            >>> one == two, len(one)
            (True, 16)
        """
        ids, splits = np.ascontiguousarray(self.token_ids, "<i4"), self.row_splits.tolist()
        return [
            hashlib.blake2b(
                ids[splits[i] : splits[i + 1]].tobytes() + boundary.to_bytes(4, "little"), digest_size=16
            ).digest()
            for i, boundary in enumerate(self.boundaries.tolist())
        ]


def num_batches(num_examples: int, batch_size: int) -> int:
    """Batches in an epoch; the last one may be smaller.

    Raises:
        TransformerError: if batch_size is below 1.
    """
    if batch_size < 1:
        raise TransformerError(f"batch_size must be at least 1; got {batch_size}")
    return -(-num_examples // batch_size)


def joined(parts: Sequence[Examples]) -> Examples:
    """Examples one after another; all or none have targets, and weights."""

    def together(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        if isinstance(values[0], Ragged):
            return Ragged.joined(values)
        return None if values[0] is None else np.concatenate(values)

    tokens = Ragged.joined([Ragged(part.token_ids, part.row_splits) for part in parts])
    return Examples(
        tokens.values,
        tokens.row_splits,
        *(together(name) for name in ("boundaries", "full_lengths", "targets", "weights")),
        parts[0].pad_id,
        parts[0].target_spec,
    )


def build_examples(
    texts: Texts,
    targets: np.ndarray | None = None,
    *,
    tokenize: Callable,
    pack: Packer,
    pad_id: int = 0,
    maker: Any = None,
    stream: TextIO | None = None,
) -> Examples:
    """Tokenises every text once, some thousand at a time on every core.

    Besides the result it holds a few chunks in memory; the tokens of a large corpus are in a temporary file
    (`TokenStore`).

    Args:
        texts: The texts, and the weights that go with them.
        targets: int32 (B,) or float32 (B, C) from `encode_targets`, or None.
        tokenize: Callable from texts (B,) string to a `RaggedTensor` int32 (B, None).
        pack: `Packer`, which adds special tokens and trims to sequence_length.
        pad_id: Id that pads.
        maker: Settings that the examples are made with, as in `Examples`.
        stream: Stream that shows the progress; stderr by default.

    Raises:
        TransformerError: if targets are not as many as texts, or sequence_length is too short for the special tokens.

    Example:
        >>> examples = build_examples(
        ...     Texts(["good", "a bad film"]), tokenize=tokenizer.tokenize, pack=packer(tokenizer, 128)
        ... )
        >>> examples.lengths.tolist()
        [3, 5]
    """
    if targets is not None and len(targets) != len(texts):
        raise TransformerError(f"targets must be as many as texts, {len(texts)}; got {len(targets)}")
    sides = texts.sides

    def encode(chunk: slice) -> FlatRows:
        import tensorflow as tf

        # Small operations without end: copying them to an accelerator would take longer than they do.
        with tf.device("CPU"):
            return pack.flat(*(tokenize(tf.constant(side[chunk], tf.string)) for side in sides))

    tokens = TokenStore()
    rows: dict[str, list[np.ndarray]] = {"lengths": [], "boundaries": [], "full_lengths": []}
    with Progress(len(texts), "tokenising", stream=stream) as bar:
        for part in _encoded(_chunks(sides), encode):
            tokens.append(part.token_ids)
            for name, parts in rows.items():
                parts.append(getattr(part, name))
            bar.update(len(part.lengths))

    def column(name: str) -> np.ndarray:
        return np.concatenate([np.zeros(0, "int32"), *rows.pop(name)])

    return Examples(
        tokens.finish(),
        row_splits(column("lengths")),
        column("boundaries"),
        column("full_lengths"),
        targets,
        texts.weights,
        pad_id,
        maker=maker,
        all_texts=texts,
    )


def _chunks(sides: list[list[str]]) -> list[slice]:
    """Consecutive rows, few enough that tokenising them takes little memory even where texts are long."""
    rows = len(sides[0])
    before = row_splits(sum(np.fromiter(map(len, side), "int64", rows) for side in sides))
    chunks, start = [], 0
    while start < rows:
        full = int(np.searchsorted(before, before[start] + CHUNK_CHARACTERS, "right")) - 1
        stop = min(max(full, start + 1), start + CHUNK_TEXTS, rows)
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


# 256 MB; a text classification corpus of a million short rows is a fifth of it.
TOKENS_IN_MEMORY = 1 << 26


class TokenStore:
    """Collects int32 arrays and gives them back as one.

    The file has no name that outlives the process, and the system may drop its pages from memory at any
    time: the memory in use does not grow with the corpus.

    Args:
        in_memory: Tokens that are kept in memory at most.

    Example:
        >>> store = TokenStore()
        >>> store.append([1, 2])
        >>> store.append([3])
        >>> store.finish().tolist()
        [1, 2, 3]
    """

    def __init__(self, in_memory: int = TOKENS_IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._parts: list[np.ndarray] = []
        self._held = 0
        self._file: Any = None

    def append(self, token_ids: Any) -> None:
        """Add tokens at the end."""
        part = np.ascontiguousarray(token_ids, "int32")
        self._parts.append(part)
        self._held += len(part)
        if self._held > self._in_memory:
            self._spill()

    def finish(self) -> np.ndarray:
        """All tokens, int32, in the order they came; nothing may be added after it."""
        if self._file is None:
            parts, self._parts = self._parts, []
            return np.concatenate(parts) if parts else np.zeros(0, "int32")
        self._spill()
        with self._file:
            return np.memmap(self._file, "int32", mode="r").view(np.ndarray)

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()
        for part in self._parts:
            self._file.write(part.data)
        self._file.flush()
        self._parts, self._held = [], 0
