"""Batches in which several texts share a row without seeing each other (Krell et al. 2021, arXiv 2107.02027).

A batch holds the same texts as without packing. Only the input of the encoder changes: rows filled up to
`capacity` instead of one row a text, and the places of each text's vectors in the output.
"""

import bisect
from typing import Any

import numpy as np

from tftransformer.data.dataset_functions import BATCHES_AHEAD

# What a packed batch holds beside `padding_mask`: (R, T) each, and (B, L).
ROWS = ("token_ids", "segment_ids", "position_ids", "sequence_ids")
PLACES = "places"
# Rows are filled up to a multiple of this with empty ones, so that an epoch has few shapes to compile.
ROW_MULTIPLE = 4


def pack_batch(
    token_ids: np.ndarray,
    segment_ids: np.ndarray,
    padding_mask: np.ndarray,
    capacity: int,
    pad_id: int = 0,
    replicas: int = 1,
) -> dict[str, np.ndarray]:
    """A batch of padded texts as rows that several texts share.

    Args:
        token_ids, segment_ids, padding_mask: (B, L) integers.
        capacity: T, tokens a row; at least the longest text.
        pad_id: Id that pads.
        replicas: Replicas that the batch is divided among, ceil(B/replicas) texts each as `tf.distribute` does it.
            Each finds its own texts in its own R/replicas rows, and `places` are relative to these.

    Returns:
        int32 arrays. (R, T): `token_ids`, `segment_ids`, `position_ids` (each text counts from 0) and `sequence_ids` (1 for
        the first text of a row, and so on; 0 where there is none). (B, L): `places`, where in the R*T vectors of the rows
        (of a replica's) each text's tokens are, and `padding_mask`, as it was.

    Example:
        >>> ids = np.array([[5, 6, 7], [8, 9, 0]])
        >>> batch = pack_batch(ids, ids * 0, (ids > 0).astype("int32"), capacity=6)
        >>> batch["token_ids"][0].tolist(), batch["position_ids"][0].tolist()
        ([5, 6, 7, 8, 9, 0], [0, 1, 2, 0, 1, 0])
    """
    lengths = padding_mask.sum(axis=1).astype("int64")
    size = -(-len(lengths) // replicas)
    rows_of = [pack_rows(lengths[first : first + size], capacity) for first in range(0, replicas * size, size)]
    # As many rows for each replica, so that a split into equal parts separates them.
    count = -(-max(len(rows) for rows in rows_of) // ROW_MULTIPLE) * ROW_MULTIPLE
    packed = {name: np.zeros((replicas * count, capacity), "int32") for name in ROWS}
    packed["token_ids"][:] = pad_id
    places = np.zeros(token_ids.shape, "int32")
    for replica, rows in enumerate(rows_of):
        for row, texts in enumerate(rows):
            start = 0
            for number, text in enumerate(texts, start=1):
                text += replica * size
                length = lengths[text]
                span = (replica * count + row, slice(start, start + length))
                packed["token_ids"][span] = token_ids[text, :length]
                packed["segment_ids"][span] = segment_ids[text, :length]
                packed["position_ids"][span] = np.arange(length)
                packed["sequence_ids"][span] = number
                places[text, :length] = row * capacity + start + np.arange(length)
                start += length
    return {**packed, PLACES: places, "padding_mask": padding_mask.astype("int32")}


def packed_batches(dataset: Any, capacity: int, pad_id: int = 0, replicas: int = 1) -> Any:
    """A `tf.data.Dataset` of x, (x, y) or (x, y, weight) with the texts of each x packed; all else as it was.

    Args:
        dataset: Dataset of batches.
        capacity, pad_id, replicas: Arguments of `pack_batch`.
    """
    import tensorflow as tf

    def pack(token_ids: np.ndarray, segment_ids: np.ndarray, padding_mask: np.ndarray) -> tuple:
        batch = pack_batch(token_ids, segment_ids, padding_mask, capacity, pad_id, replicas)
        return tuple(batch[name] for name in (*ROWS, PLACES))

    def swap(x: dict, *rest: Any) -> Any:
        given = [x["token_ids"], x["segment_ids"], x["padding_mask"]]
        tensors = tf.numpy_function(pack, given, [tf.int32] * (len(ROWS) + 1), stateful=False)
        for tensor in tensors[:-1]:
            tensor.set_shape([None, capacity])
        tensors[-1].set_shape(x["token_ids"].shape)
        x = {**dict(zip((*ROWS, PLACES), tensors)), "padding_mask": x["padding_mask"]}
        return (x, *rest) if rest else x

    packed = dataset.map(swap, num_parallel_calls=tf.data.AUTOTUNE)
    if replicas > 1:
        # Where `tf.distribute` knows the size of a batch it cuts everything into parts of that many rows; where it
        # does not, each tensor into as many equal parts as there are replicas.
        known = tf.autograph.experimental.do_not_convert(lambda *batch: tf.data.Dataset.from_tensors(batch))
        cardinality = packed.cardinality()
        packed = packed.flat_map(known).apply(tf.data.experimental.assert_cardinality(cardinality))
    return packed.prefetch(BATCHES_AHEAD)


def pack_rows(lengths: np.ndarray, capacity: int) -> list[list[int]]:
    """Groups of items whose lengths add up to at most `capacity`: best fit, longest first.

    Example:
        >>> pack_rows(np.array([5, 3, 2, 4]), 8)
        [[0, 1], [3, 2]]
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # (room left, row), sorted
    for item in np.argsort(-lengths, kind="stable").tolist():
        length = int(lengths[item])
        at = bisect.bisect_left(rooms, (length, -1))
        if at < len(rooms):
            room, row = rooms.pop(at)
        else:
            room, row = capacity, len(rows)
            rows.append([])
        rows[row].append(item)
        if room - length > 0:
            bisect.insort(rooms, (room - length, row))
    return rows
