"""Token ids to rows as models take them, padded inside a graph or flat in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tftransformer.data.ragged import row_places
from tftransformer.text.base import Tokenizer

if TYPE_CHECKING:
    import tensorflow as tf


class FlatRows(NamedTuple):
    """B packed rows one after another, without padding.

    `token_ids` int32 of all rows; `lengths`, `boundaries` (tokens of segment 0) and `full_lengths` (before
    trimming, special tokens included) int32 (B,).
    """

    token_ids: np.ndarray
    lengths: np.ndarray
    boundaries: np.ndarray
    full_lengths: np.ndarray


@dataclass(frozen=True)
class Packer:
    """Trims texts, or pairs of them, to a length and adds their special tokens.

    Args:
        sequence_length: Tokens of a row at most, special tokens included.
        start_id: The token before the first text; None: a row begins with its text.
        separator_id: The token behind each text.
        pad_id: The token that pads.
        pair_separators: Separators between the texts of a pair.

    Example:
        >>> import tensorflow as tf
        >>> pack = Packer(sequence_length=4, start_id=2, separator_id=3)
        >>> ids = tf.ragged.constant([[7, 8, 9], []], dtype=tf.int32)
        >>> pack(ids)["token_ids"].numpy().tolist(), pack.flat(ids).token_ids.tolist()
        ([[2, 7, 8, 3], [2, 3, 0, 0]], [2, 7, 8, 3, 2, 3])
    """

    sequence_length: int
    start_id: int | None
    separator_id: int
    pad_id: int = 0
    pair_separators: int = 1

    def __call__(self, first: tf.RaggedTensor, second: tf.RaggedTensor | None = None) -> dict[str, tf.Tensor]:
        """`token_ids`, `segment_ids` and `padding_mask`, (B, T) int32, in TensorFlow operations.

        Raises:
            TransformerError: sequence_length leaves no room for the special tokens.
        """
        from tftransformer.text.packing import pack

        return pack(
            first,
            second,
            sequence_length=self.sequence_length,
            start_id=self.start_id,
            separator_id=self.separator_id,
            pad_id=self.pad_id,
            pair_separators=self.pair_separators,
        )

    def flat(self, first: tf.RaggedTensor, second: tf.RaggedTensor | None = None) -> FlatRows:
        """The same rows flat, from tensors that have values.

        Raises:
            TransformerError: sequence_length leaves no room for the special tokens.
        """
        from tftransformer.text.packing import room_for_text, trimmed_lengths

        sides = [first] if second is None else [first, second]
        separators = [1] if second is None else [self.pair_separators, 1]
        starts = int(self.start_id is not None)
        special = starts + sum(separators)
        room = room_for_text(self.sequence_length, special)
        full = [np.diff(side.row_splits.numpy()).astype("int32") for side in sides]
        kept = [np.minimum(full[0], room)]
        if second is not None:
            kept = [length.numpy() for length in trimmed_lengths(*full, room)]
        lengths = special + sum(kept)
        at = np.cumsum(lengths, dtype="int64") - lengths
        token_ids = np.empty(int(lengths.sum()), "int32")
        if starts:
            token_ids[at] = self.start_id
            at += 1
        for side, length, count in zip(sides, kept, separators, strict=True):
            token_ids[row_places(at, length)] = side.values.numpy()[row_places(side.row_splits.numpy()[:-1], length)]
            at += length
            for _ in range(count):
                token_ids[at] = self.separator_id
                at += 1
        boundaries = lengths if second is None else starts + kept[0] + separators[0]
        return FlatRows(token_ids, lengths, boundaries, special + sum(full))


def packer(tokenizer: Tokenizer, sequence_length: int) -> Packer:
    """The `Packer` that goes with a tokenizer of this package.

    Args:
        tokenizer: Tokenizer, whose special tokens and `pair_separators` are taken.
        sequence_length: Tokens a row is trimmed to, special tokens included.

    Example:
        >>> packer(classifier.tokenizer, 128).sequence_length
        128
    """
    start = tokenizer.start_id if tokenizer.add_start_token else None
    return Packer(sequence_length, start, tokenizer.separator_id, tokenizer.pad_id, tokenizer.pair_separators)
