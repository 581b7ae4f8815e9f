"""Two-level tables of integers over the code points, and what BERT's text normalisation does to each.

The rules are in code_points.txt, read off the `tokenizers` library that Hugging Face's fast BERT
tokenizer runs on. They are data and not Python's `unicodedata`, because that changes with every
Python version while pretrained vocabularies do not.
"""

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

RULES = Path(__file__).with_name("code_points.txt")
PAGE_SIZE = 256
NUM_CODE_POINTS = 0x110000

# A symbol is a code point with flags above its 21 bits.
CODE_POINT = (1 << 21) - 1
ISOLATED = 1 << 21  # a word of its own
SPACE = 1 << 22  # separates words
VANISHES = 1 << 23  # takes part in canonical ordering, then is dropped
CLASS_SHIFT = 24  # six bits: rank of the combining class, 0 for what never moves
SPECIAL = 1 << 30  # a table entry that is an index into the expansions


class PageTable(NamedTuple):
    """An integer for each code point: that of c is `entries[pages[c >> 8] * 256 + (c & 255)]`; both int32."""

    pages: np.ndarray
    entries: np.ndarray


class CodePointTables(NamedTuple):
    """Integer tables from code point to symbols; all int32.

    Code point c has an entry as in `PageTable`. Below `SPECIAL`, c turns into the one symbol `c + entry`;
    otherwise into the symbols `pool[first[k] : first[k] + lengths[k]]` with `k = entry - SPECIAL`.
    """

    pages: np.ndarray
    entries: np.ndarray
    first: np.ndarray
    lengths: np.ndarray
    pool: np.ndarray


def page_table(values: np.ndarray) -> PageTable:
    """(0x110000,) int32 as a table of two levels: equal pages are stored once."""
    rows: dict[bytes, int] = {}
    pages = [rows.setdefault(row.tobytes(), len(rows)) for row in values.reshape(-1, PAGE_SIZE)]
    return PageTable(np.array(pages, np.int32), np.frombuffer(b"".join(rows), np.int32))


def pooled(outcomes: Iterable[tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sequences one after another: where each begins, how long each is, and all their values; int32."""
    outcomes = list(outcomes)
    lengths = np.array([len(out) for out in outcomes] or [0], np.int32)
    pool = np.array([value for out in outcomes for value in out] or [0], np.int32)
    return (np.cumsum(lengths) - lengths).astype(np.int32), lengths, pool


def read_rule_file(
    path: Path, kinds: Iterable[str], decomposition: str | None = None
) -> dict[str, dict[int, tuple[int, ...]]]:
    """The rules of a file: kind -> code point -> values (empty for the kinds without any).

    The kind `decomposition` is completed by the Hangul syllables, whose decomposition is arithmetic (Unicode 3.12).
    """
    rules: dict[str, dict[int, tuple[int, ...]]] = {kind: {} for kind in kinds}
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        kind, span, *values = line.split()
        first, _, last = span.partition("-")
        covered = range(int(first, 16), int(last or first, 16) + 1)
        if kind == "class":
            rules[kind].update((c, (int(values[0]),)) for c in covered)
        elif values:
            mapped = (tuple(int(part, 16) for part in value.split("+")) for value in values)
            rules[kind].update(zip(covered, mapped, strict=True))
        else:
            rules[kind].update(dict.fromkeys(covered, ()))
    for index in range(19 * 588) if decomposition else ():
        lead, vowel, tail = 0x1100 + index // 588, 0x1161 + index % 588 // 28, 0x11A7 + index % 28
        rules[decomposition][0xAC00 + index] = (lead, vowel) if index % 28 == 0 else (lead, vowel, tail)
    return rules


@functools.cache
def read_rules() -> dict[str, dict[int, tuple[int, ...]]]:
    """The rules of code_points.txt."""
    kinds = ("drop", "space", "cjk", "punctuation", "mark", "break", "class", "strip", "lower")
    return read_rule_file(RULES, kinds, "strip")


@functools.cache
def build_tables(lowercase: bool, strip_accents: bool, split_on_cjk: bool, tracked: bool = False) -> CodePointTables:
    """The tables for one choice of settings.

    Args:
        lowercase: Map letters to lower case, each by itself (no final sigma).
        strip_accents: Decompose canonically and drop nonspacing marks.
        split_on_cjk: Make each CJK ideograph a word of its own.
        tracked: Drop nonspacing marks only after they took part in canonical ordering: the places of
            the marks that stay depend on them, the words do not. Defaults to False.

    Returns:
        `CodePointTables`, about 0.4 MB with accents stripped.

    Example:
        >>> tables = build_tables(True, True, True)
        >>> chr(0xC9 + tables.entries[tables.pages[0] * 256 + 0xC9])
        'e'
    """
    rules = read_rules()
    lower = rules["lower"] if lowercase else {}
    ranks = {value: rank for rank, value in enumerate(sorted({v for (v,) in rules["class"].values()}), 1)}

    def symbol(c: int) -> int:
        order = ranks[rules["class"][c][0]] << CLASS_SHIFT if strip_accents and c in rules["class"] else 0
        return c | order

    def symbols(c: int) -> tuple[int, ...]:
        """Return what one code point outside drop and space turns into."""
        if strip_accents and c in rules["mark"]:
            return (VANISHES | symbol(c) & ~CODE_POINT,) if tracked else ()
        if strip_accents and c in rules["break"]:
            return (VANISHES,)
        out = []
        for part in rules["strip"].get(c, (c,)) if strip_accents else (c,):
            flags = symbol(part) & ~CODE_POINT
            for letter in lower.get(part, (part,)):
                out.append(letter | flags | (ISOLATED if letter in rules["punctuation"] else 0))
        if split_on_cjk and c in rules["cjk"]:
            return (out[0] | ISOLATED,) if len(out) == 1 else (SPACE, *out, SPACE)
        return tuple(out)

    result = dict.fromkeys(rules["drop"], ()) | dict.fromkeys(rules["space"], (SPACE,))
    touched = set(lower) | set(rules["punctuation"])
    touched.update(rules["cjk"] if split_on_cjk else ())
    if strip_accents:
        touched.update(rules["strip"], rules["mark"], rules["break"], rules["class"])
    result.update((c, symbols(c)) for c in touched)

    entries = np.zeros(NUM_CODE_POINTS, np.int32)
    expansions: dict[tuple[int, ...], int] = {}
    for c, out in result.items():
        if len(out) == 1 and not out[0] & VANISHES:
            entries[c] = out[0] - c
        else:
            entries[c] = SPECIAL + expansions.setdefault(out, len(expansions))
    return CodePointTables(*page_table(entries), *pooled(expansions))
