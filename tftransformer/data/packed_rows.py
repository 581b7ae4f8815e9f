"""Rows packed full with several texts, which attention must not cross (Krell et al. 2021, arXiv 2107.02027)."""

import bisect

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
