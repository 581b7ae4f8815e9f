"""Token ids to BERT's inputs, in core TensorFlow operations that every TF Serving carries.

[CLS] first [SEP]                 segment ids 0
[CLS] first [SEP] second [SEP]    segment ids 0 up to the first [SEP], then 1

RoBERTa writes them <s> and </s>, and puts two </s> between the texts of a pair.
"""

import tensorflow as tf

from tftransformer.errors import TransformerError


def pack(
    first: tf.RaggedTensor,
    second: tf.RaggedTensor | None = None,
    *,
    sequence_length: int,
    start_id: int | None,
    separator_id: int,
    pad_id: int,
    length: int | None = None,
    pair_separators: int = 1,
) -> dict[str, tf.Tensor]:
    """Adds the special tokens, truncates and pads.

    A single text loses tokens at its end. Of a pair the longer text loses tokens at its end until both
    fit or are equally long, and then both do: `longest_first` of Hugging Face's fast tokenizers, with the
    odd token going to the longer text (to the second, of two equally long ones).

    Args:
        first: int32 (B, None), a tokenizer's output.
        second: int32 (B, None), the second texts of pairs.
        sequence_length: Most tokens of a row, special tokens included; at least the special tokens: 2, for pairs 3 (RoBERTa: 4).
        start_id, separator_id, pad_id: Ids of [CLS], [SEP] and [PAD]; None for a row that begins with its text.
        length: Pad every row to this many tokens, at least `sequence_length`. None (the default) pads to the
            longest row of the batch, which computes least.
        pair_separators: Separators between the texts of a pair; they count as the first text's segment.

    Returns:
        `token_ids`, `segment_ids` and `padding_mask` (1 = a real token), each int32 (B, T).

    Raises:
        TransformerError: `sequence_length` has no room for the special tokens, or `length` is below it.

    Example:
        >>> ids = tf.ragged.constant([[7, 8, 9], []], dtype=tf.int32)
        >>> pack(ids, sequence_length=4, start_id=2, separator_id=3, pad_id=0)["token_ids"].numpy().tolist()
        [[2, 7, 8, 3], [2, 3, 0, 0]]
    """
    starts = int(start_id is not None)
    special = 1 + starts if second is None else 1 + starts + pair_separators
    room = room_for_text(sequence_length, special)
    if length is not None and length < sequence_length:
        raise TransformerError(f"length must be at least sequence_length ({sequence_length}); got {length}")
    first = tf.cast(first, tf.int32)
    if second is None:
        segments = [_cut(first, tf.minimum(_lengths(first), room))]
    else:
        second = tf.cast(second, tf.int32)
        keep_first, keep_second = trimmed_lengths(_lengths(first), _lengths(second), room)
        segments = [_cut(first, keep_first), _cut(second, keep_second)]

    rows = segments[0].nrows()
    column = tf.stack([tf.cast(rows, tf.int64), 1])
    separator = tf.RaggedTensor.from_tensor(tf.fill(column, separator_id))
    start = [tf.RaggedTensor.from_tensor(tf.fill(column, start_id))] if start_id is not None else []
    parts = [*start, segments[0], separator]
    if second is not None:
        parts += [separator] * (pair_separators - 1) + [segments[1], separator]
    tokens = tf.concat(parts, axis=1)
    total = _lengths(tokens)[:, tf.newaxis]
    # A batch without rows has no longest one, and still the places of the special tokens.
    width = tf.maximum(special, tf.reduce_max(total)) if length is None else length
    token_ids = tokens.to_tensor(default_value=pad_id, shape=tf.stack([-1, width]))

    position = tf.range(width)[tf.newaxis]
    padding_mask = tf.cast(position < total, tf.int32)
    if second is None:
        segment_ids = tf.zeros_like(token_ids)
    else:
        boundary = _lengths(segments[0])[:, tf.newaxis] + starts + pair_separators
        segment_ids = tf.cast((position >= boundary) & (position < total), tf.int32)
    return {"token_ids": token_ids, "segment_ids": segment_ids, "padding_mask": padding_mask}


def room_for_text(sequence_length: int, special: int) -> int:
    """Tokens of a row that are left beside its `special` tokens.

    Example:
        >>> room_for_text(128, 2)
        126
    """
    if sequence_length < special:
        raise TransformerError(f"sequence_length must be at least {special}, the special tokens; got {sequence_length}")
    return sequence_length - special


def trimmed_lengths(first: tf.Tensor, second: tf.Tensor, room: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the number of tokens of each text of a pair that stay.

    Args:
        first: int32 (B,), tokens of the first texts.
        second: int32 (B,), tokens of the second texts.
        room: Tokens that both may have together.

    Returns:
        Two int32 (B,).

    Example:
        >>> [n.numpy().tolist() for n in trimmed_lengths(tf.constant([9]), tf.constant([2]), 7)]
        [[5], [2]]
    """
    shorter, longer = tf.minimum(first, second), tf.maximum(first, second)
    shorter_kept = tf.where(shorter * 2 > room, tf.minimum(shorter, room // 2), shorter)
    longer_kept = tf.minimum(longer, room - shorter_kept)
    swapped = first > second
    return tf.where(swapped, longer_kept, shorter_kept), tf.where(swapped, shorter_kept, longer_kept)


def _lengths(rows: tf.RaggedTensor) -> tf.Tensor:
    return tf.cast(rows.row_lengths(), tf.int32)


def _cut(rows: tf.RaggedTensor, kept: tf.Tensor) -> tf.RaggedTensor:
    """The first `kept` (B,) tokens of each row."""
    positions = tf.range(tf.size(rows.values, tf.int64)) - tf.repeat(rows.row_starts(), rows.row_lengths())
    stays = positions < tf.cast(tf.repeat(kept, rows.row_lengths()), tf.int64)
    return tf.RaggedTensor.from_row_lengths(
        tf.boolean_mask(rows.values, stays), tf.cast(kept, tf.int64), validate=False
    )
