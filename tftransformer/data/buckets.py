"""Bucket boundaries: the few padded lengths that leave the least padding.

XLA compiles once for each input shape, so batches are padded to a handful of lengths. Choosing them is
a shortest path over the histogram of lengths, solved exactly by dynamic programming.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tftransformer.errors import TransformerError

DEFAULT_LENGTHS = (16, 32, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def length_buckets(lengths: Sequence[int] | np.ndarray, sequence_length: int, num_buckets: int = 6) -> tuple[int, ...]:
    """Boundaries that minimise the padding of rows padded to the next boundary.

    Args:
        lengths: Tokens of each row, special tokens included; longer ones count as `sequence_length`.
        sequence_length: The last boundary, so that every row that may come has a bucket. It costs nothing
            until a row needs it.
        num_buckets: Boundaries at most, `sequence_length` included if rows are that long. 6 keeps compilation
            short; without XLA a dozen costs nothing.

    Returns:
        Rising boundaries, the last of which is `sequence_length`.

    Raises:
        TransformerError: if sequence_length or num_buckets is below 1.

    Example:
        >>> length_buckets([4, 4, 5, 20, 21, 60], sequence_length=64, num_buckets=3)
        (5, 21, 60, 64)
    """
    if sequence_length < 1:
        raise TransformerError(f"sequence_length must be at least 1; got {sequence_length}")
    if num_buckets < 1:
        raise TransformerError(f"num_buckets must be at least 1; got {num_buckets}")
    lengths = np.clip(np.asarray(lengths, "int64"), 1, sequence_length)
    if not lengths.size:
        return (sequence_length,)
    values, counts = np.unique(lengths, return_counts=True)
    chosen = _best(values, counts, min(num_buckets, len(values)))
    return tuple(dict.fromkeys([*chosen, sequence_length]))


def _best(values: np.ndarray, counts: np.ndarray, buckets: int) -> list[int]:
    """Boundaries among the values; the last is the largest value.

    cost[j] is the least number of cells that rows 0..j take with the boundaries so far; the cost of a
    bucket (i, j] is its number of rows times values[j].
    """
    total = np.cumsum(counts)
    rows = np.where(np.arange(len(values))[:, None] < np.arange(len(values)), total[None, :] - total[:, None], 0)
    cells = np.where(rows > 0, rows * values[None, :], np.iinfo("int64").max // 4)
    cost = total * values
    back = []
    for _ in range(buckets - 1):
        through = cost[:, None] + cells
        before = through.argmin(axis=0)
        best = through[before, np.arange(len(values))]
        # A bucket more never hurts, but it may not help: -1 keeps the path as it was.
        back.append(np.where(best < cost, before, -1))
        cost = np.minimum(best, cost)
    boundaries, j = [], len(values) - 1
    for step in reversed(back):
        if step[j] >= 0:
            boundaries.append(int(values[j]))
            j = int(step[j])
    return sorted([*boundaries, int(values[j])])


def bucket_of(lengths: np.ndarray | int, boundaries: Sequence[int]) -> np.ndarray:
    """Index of the first boundary that is not below each length, or one length.

    Raises:
        TransformerError: if a length is above the last boundary.

    Example:
        >>> bucket_of(np.array([3, 5, 6]), (5, 8)).tolist()
        [0, 0, 1]
    """
    buckets = np.searchsorted(np.asarray(boundaries), lengths)
    if buckets.size and buckets.max() == len(boundaries):
        raise TransformerError(
            f"lengths must go up to the longest row, {int(np.max(lengths))} tokens; the last is {boundaries[-1]}"
        )
    return buckets
