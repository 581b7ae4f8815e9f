"""Embedding tables of another length: positions repeated or interpolated, and mean vectors for new tokens."""

from collections.abc import Callable

import numpy as np


def repeat_rows(table: np.ndarray, rows: int) -> np.ndarray:
    """The table again and again, as Longformer (Beltagy et al. 2020, arXiv 2004.05150) starts its positions.

    Args:
        table: (T, D).
        rows: How many are wanted.

    Returns:
        (rows, D); the first T rows are the table's, bit by bit.

    Example:
        >>> repeat_rows(np.array([[1.0], [2.0]]), 5)[:, 0].tolist()
        [1.0, 2.0, 1.0, 2.0, 1.0]
    """
    return table[np.arange(rows) % len(table)]


def interpolate_rows(table: np.ndarray, rows: int) -> np.ndarray:
    """The table stretched: its first and last rows stay at the ends, the others are mixed from two neighbours.

    Args:
        table: (T, D).
        rows: How many are wanted.

    Returns:
        (rows, D) in the table's dtype.

    Example:
        >>> interpolate_rows(np.array([[1.0], [2.0]]), 3)[:, 0].tolist()
        [1.0, 1.5, 2.0]
    """
    places = np.linspace(0, len(table) - 1, rows)
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, len(table) - 1)
    share = (places - lower)[:, None].astype("float32")
    values = table.astype("float32")
    return (values[lower] * (1 - share) + values[upper] * share).astype(table.dtype)


RESIZERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "repeated": repeat_rows,
    "interpolated": interpolate_rows,
}


def resize_positions(table: np.ndarray, length: int, offset: int, how: str) -> np.ndarray:
    """A position table for another length.

    Args:
        table: (offset + T, D).
        length: Positions that are wanted; the first ones where that is fewer than T.
        offset: Rows at its head that belong to no position and stay as they are.
        how: One of `RESIZERS`, for more positions than T.

    Returns:
        (offset + length, D).
    """
    head, body = table[:offset], table[offset:]
    body = body[:length] if length <= len(body) else RESIZERS[how](body, length)
    return np.concatenate([head, body])


def append_mean_rows(table: np.ndarray, used: int, new: int, rows: int) -> np.ndarray:
    """A token table with vectors for new tokens: the mean of those that are used.

    From the mean no new token starts out likelier than the average old one, while random vectors can outweigh
    all of them (Hewitt 2021, "Initializing new word embeddings for pretrained language models").

    Args:
        table: (V, D), or a bias (V,).
        used: The rows that belong to tokens; the others are padding, of which new tokens take the first.
        new: New tokens.
        rows: Rows that are wanted; those beyond the table and the new tokens hold the mean, too.

    Returns:
        (rows, D), or (rows,), in the table's dtype.

    Example:
        >>> append_mean_rows(np.array([[1.0], [3.0], [0.0]]), used=2, new=2, rows=4)[:, 0].tolist()
        [1.0, 3.0, 2.0, 2.0]
    """
    result = np.empty((rows, *table.shape[1:]), table.dtype)
    result[:] = table[:used].astype("float64").mean(axis=0).astype(table.dtype)
    result[:used] = table[:used]
    spare = table[used + new : rows]
    result[used + new : used + new + len(spare)] = spare
    return result
