"""What the normalisation of SentencePiece texts does to each code point, as two-level tables of integers.

The rules stand in sentencepiece_code_points.txt, read off the `tokenizers` library, and in the model's own map.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tftransformer.text.code_points import NUM_CODE_POINTS, SPECIAL, PageTable, page_table, pooled, read_rule_file

RULES = Path(__file__).with_name("sentencepiece_code_points.txt")
POINT_BITS = 21
LONGEST_CLUSTER = 3  # characters of a grapheme cluster of at most five bytes

# Flags of a code point. Those of graphemes are Unicode's (Standard Annex 29), by what they do.
JOINS, ALONE, LEADS, PICTURE, BETWEEN_PICTURES, CONSONANT, LINKER, BETWEEN_CONSONANTS = (1 << i for i in range(8))
LEAD_JAMO, VOWEL_JAMO, TAIL_JAMO, OPEN_SYLLABLE, CLOSED_SYLLABLE = (1 << i for i in range(8, 13))
CLUSTERS = 1 << 13  # a text that has none of these consists of clusters of one character
SPACE = 1 << 14
_FLAGS = {
    "joins": JOINS, "alone": ALONE, "leads": LEADS, "picture": PICTURE, "between_pictures": BETWEEN_PICTURES,
    "consonant": CONSONANT, "linker": LINKER, "between_consonants": BETWEEN_CONSONANTS,
}  # fmt: skip
_JAMO = {
    LEAD_JAMO: ((0x1100, 0x115F), (0xA960, 0xA97C)),
    VOWEL_JAMO: ((0x1160, 0x11A7), (0xD7B0, 0xD7C6)),
    TAIL_JAMO: ((0x11A8, 0x11FF), (0xD7CB, 0xD7FB)),
}
_SPACES = (
    *range(0x9, 0xE), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000,
)  # fmt: skip
_SYLLABLES = range(0xAC00, 0xD7A4)


class Replacements(NamedTuple):
    """Characters that turn into others.

    With the entry e of its code point in `table`, c turns into `c + e` where e is below `SPECIAL`, otherwise into
    `pool[first[k] : first[k] + lengths[k]]` with `k = e - SPECIAL`. Clusters of several characters that turn into
    something as a whole are in `clusters` (ascending; code points packed by `POINT_BITS`), and `cluster_index` is
    their k.
    """

    table: PageTable
    first: np.ndarray
    lengths: np.ndarray
    pool: np.ndarray
    clusters: np.ndarray
    cluster_index: np.ndarray


@functools.cache
def read_rules() -> dict[str, dict[int, tuple[int, ...]]]:
    """The rules of sentencepiece_code_points.txt."""
    return read_rule_file(RULES, (*_FLAGS, "mark", "fold", "lower"), "fold")


@functools.cache
def flag_table() -> PageTable:
    """The flags of every code point."""
    flags = np.zeros(NUM_CODE_POINTS, np.int32)
    for kind, flag in _FLAGS.items():
        flags[list(read_rules()[kind])] |= flag
    for flag, spans in _JAMO.items():
        for first, last in spans:
            flags[first : last + 1] |= flag
    flags[_SYLLABLES.start : _SYLLABLES.stop] |= CLOSED_SYLLABLE
    flags[_SYLLABLES.start : _SYLLABLES.stop : 28] ^= CLOSED_SYLLABLE | OPEN_SYLLABLE
    flags[(flags & (JOINS | LEADS | LEAD_JAMO | VOWEL_JAMO | TAIL_JAMO)) != 0] |= CLUSTERS
    flags[ord("\r")] |= CLUSTERS
    flags[list(_SPACES)] |= SPACE
    return page_table(flags)


@functools.cache
def folding(lowercase: bool, strip_accents: bool) -> Replacements:
    """ALBERT's rules: compatibility decomposition without accents, and lower case, character by character."""
    rules = read_rules()
    lower = rules["lower"] if lowercase else {}
    result: dict[tuple[int, ...], tuple[int, ...]] = {(c,): out for c, out in lower.items()}
    if strip_accents:
        result.update({(c,): () for c in rules["mark"]})
        for c, parts in rules["fold"].items():
            result[(c,)] = tuple(letter for part in parts for letter in lower.get(part, (part,)))
    return _replacements(result)


def charsmap_replacements(rules: Mapping[str, str]) -> Replacements:
    """The rules of a model's map, as far as the lookup of a cluster by its shortest rule can meet them."""
    keys = {tuple(map(ord, key)): tuple(map(ord, value)) for key, value in rules.items() if len(key) <= LONGEST_CLUSTER}
    reachable = {k: v for k, v in keys.items() if not any(k[:n] in keys for n in range(1, len(k)))}
    return _replacements(reachable)


def _replacements(rules: Mapping[tuple[int, ...], tuple[int, ...]]) -> Replacements:
    entries = np.zeros(NUM_CODE_POINTS, np.int32)
    pool: dict[tuple[int, ...], int] = {}
    clusters: dict[int, int] = {}
    for key, out in rules.items():
        if len(key) > 1:
            packed = functools.reduce(lambda high, c: high << POINT_BITS | c, key)
            clusters[packed] = pool.setdefault(out, len(pool))
        elif len(out) == 1 and out != key:
            entries[key[0]] = out[0] - key[0]
        else:
            entries[key[0]] = SPECIAL + pool.setdefault(out, len(pool))
    packed = sorted(clusters) or [-1]
    index = np.array([clusters.get(key, 0) for key in packed], np.int32)
    return Replacements(page_table(entries), *pooled(pool), np.array(packed, np.int64), index)
