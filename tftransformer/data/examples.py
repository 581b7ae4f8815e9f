"""Tokenised examples, kept flat: as much memory as there are tokens, and no padding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tftransformer.data.records import Records
from tftransformer.errors import TransformerError

TOKENIZE_BATCH = 1024
# Tracing a tf.data pipeline takes longer than tokenising this many texts eagerly.
EAGER_TEXTS = 128


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


def build_examples(
    records: Records,
    labels: np.ndarray | None = None,
    *,
    tokenize: Callable,
    pack: Callable,
    pad_id: int = 0,
) -> Examples:
    """Tokenises every text once, in batches, inside tf.data.

    Args:
        records: The texts, and the weights that go with them.
        labels: int32 (B,) or float32 (B, C) from `encode_targets`, or None.
        tokenize: `tokenize(texts (B,) string) -> RaggedTensor int32 (B, None)`, in graph ops.
        pack: `pack(first)` or `pack(first, second) -> {"token_ids", "segment_ids", "padding_mask"}`
            (B, T), padded to the longest row; special tokens added, trimmed to max_length.
        pad_id: The id that padding has.

    Raises:
        TransformerError: if labels are not as many as texts.

    Example:
        >>> examples = build_examples(  # doctest: +SKIP
        ...     Records(["a", "bc"]), tokenize=tokenizer.tokenize, pack=packer(tokenizer, 128)
        ... )
    """
    import tensorflow as tf

    if labels is not None and len(labels) != len(records):
        raise TransformerError(f"labels must be as many as texts, {len(records)}; got {len(labels)}")
    sides = [records.first] if records.second is None else [records.first, records.second]
    # Packing adds as many special tokens to every row as to an empty one; asked here, outside of any
    # graph, it also raises its own errors as they are.
    special = _special_tokens(pack, len(sides))

    def encode(*texts):
        ids = [tokenize(side) for side in texts]
        packed = pack(*ids)
        mask = tf.cast(packed["padding_mask"], tf.bool)
        segments = tf.cast(packed["segment_ids"], tf.int32)
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        raw = tf.add_n([tf.cast(side.row_lengths(), tf.int32) for side in ids])
        return {
            "token_ids": tf.boolean_mask(tf.cast(packed["token_ids"], tf.int32), mask),
            "lengths": lengths,
            "boundaries": lengths - tf.reduce_sum(tf.where(mask, segments, 0), axis=1),
            "full_lengths": raw + special,
        }

    parts: dict[str, list[np.ndarray]] = {}
    constants = tuple(tf.constant(side, tf.string) for side in sides)
    if len(records) > EAGER_TEXTS:
        dataset = tf.data.Dataset.from_tensor_slices(constants).batch(TOKENIZE_BATCH)
        encoded = iter(dataset.map(encode, num_parallel_calls=tf.data.AUTOTUNE).prefetch(2))
    else:
        encoded = iter([encode(*constants)] if len(records) else [])
    for part in encoded:
        for key, value in part.items():
            parts.setdefault(key, []).append(value.numpy())

    def joined(key: str, dtype: str) -> np.ndarray:
        return np.concatenate(parts.get(key, [np.zeros(0)])).astype(dtype)

    lengths = joined("lengths", "int64")
    return Examples(
        joined("token_ids", "int32"),
        np.concatenate([[0], np.cumsum(lengths)]).astype("int64"),
        joined("boundaries", "int32"),
        joined("full_lengths", "int32"),
        labels,
        records.weights,
        pad_id,
    )


def packer(tokenizer: Any, max_length: int) -> Callable:
    """`pack` for `build_examples` from a tokenizer of this package.

    Args:
        tokenizer: Has `start_id`, `separator_id`, `pad_id` and `pair_separators`.
        max_length: Tokens a row is trimmed to, special tokens included.

    Example:
        >>> examples = build_examples(  # doctest: +SKIP
        ...     records, tokenize=tokenizer.tokenize, pack=packer(tokenizer, 128), pad_id=tokenizer.pad_id
        ... )
    """
    from functools import partial

    from tftransformer.data.tokenizers.packing import pack

    return partial(
        pack,
        max_length=max_length,
        start_id=tokenizer.start_id,
        separator_id=tokenizer.separator_id,
        pad_id=tokenizer.pad_id,
        pair_separators=tokenizer.pair_separators,
    )


def _special_tokens(pack: Callable, sides: int) -> int:
    import tensorflow as tf

    empty = tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), tf.constant([0], tf.int64))
    return int(tf.reduce_sum(tf.cast(pack(*[empty] * sides)["padding_mask"], tf.int32)))
