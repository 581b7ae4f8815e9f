"""The character classes of GPT-2's splitting into words, as a two-level table.

They stand in character_classes.txt, read off the `tokenizers` library that Hugging Face's fast
tokenizers run on: pretrained vocabularies keep the Unicode version they were made with.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

CLASSES = Path(__file__).with_name("character_classes.txt")
PAGE_SIZE = 256
NUM_CODE_POINTS = 0x110000
OTHER, LETTER, NUMBER, SPACE = range(4)


class ClassTable(NamedTuple):
    """Class of each code point: c has `entries[pages[c >> 8] * 256 + (c & 255)]`; both int32."""

    pages: np.ndarray
    entries: np.ndarray


@functools.cache
def build_class_table() -> ClassTable:
    """The table, about 60 kB.

    Example:
        >>> table = build_class_table()
        >>> int(table.entries[table.pages[0] * 256 + ord("a")]) == LETTER
        True
    """
    classes = np.full(NUM_CODE_POINTS, OTHER, np.int32)
    kinds = {"letter": LETTER, "number": NUMBER, "space": SPACE}
    for line in CLASSES.read_text(encoding="ascii").splitlines():
        if not line.startswith("#"):
            kind, span = line.split()
            first, _, last = span.partition("-")
            classes[int(first, 16) : int(last or first, 16) + 1] = kinds[kind]
    rows: dict[bytes, int] = {}
    pages = [rows.setdefault(row.tobytes(), len(rows)) for row in classes.reshape(-1, PAGE_SIZE)]
    return ClassTable(np.array(pages, np.int32), np.frombuffer(b"".join(rows), np.int32))
