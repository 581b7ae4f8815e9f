"""Rows packed full with several texts, which attention must not cross (Krell et al. 2021, arXiv 2107.02027)."""

import bisect
from typing import Any

import numpy as np


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


def write_packed(
    packed: list[list[Any]],
    count: int,
    length: int,
    begins: np.ndarray,
    specials: tuple[int, int, int, int, int],
) -> dict[str, np.ndarray]:
    """Packed rows as arrays: each text with [CLS] and [SEP], positions and word numbers of its own.

    Args:
        packed: For each row its texts, as pairs of `Texts` and a span of words.
        count: B; rows beyond the packed ones are empty.
        length: T.
        begins: (V,), the token starts a word.
        specials: Ids of unknown, padding, start, separator and mask.

    Returns:
        `token_ids`, `padding_mask`, `segment_ids`, `words` (numbered through the row), `documents` (from 1; 0 at
        padding) and `position_ids`, (B, T) int32.
    """
    _, pad, start, separator, _ = specials
    token_ids = np.full((count, length), pad, "int32")
    words = np.full((count, length), -1, "int32")
    documents = np.zeros((count, length), "int32")
    position_ids = np.zeros((count, length), "int32")
    for row, items in enumerate(packed):
        at = word = 0
        for number, (texts, (first, last)) in enumerate(items, 1):
            bounds = texts.sides[0].bounds
            piece = texts.sides[0].ids[bounds[first] : bounds[last]]
            end = at + len(piece) + 2
            token_ids[row, at], token_ids[row, at + 1 : end - 1], token_ids[row, end - 1] = (
                start,
                piece,
                separator,
            )
            begin = begins[piece]
            begin[bounds[first:last] - bounds[first]] = True
            words[row, at], words[row, at + 1 : end - 1] = word, word + np.cumsum(begin)
            word += last - first + 2
            words[row, end - 1] = word - 1
            documents[row, at:end] = number
            position_ids[row, at:end] = np.arange(end - at)
            at = end
    return {
        "token_ids": token_ids,
        "padding_mask": (documents > 0).astype("int32"),
        "segment_ids": np.zeros_like(token_ids),
        "words": words,
        "documents": documents,
        "position_ids": position_ids,
    }
