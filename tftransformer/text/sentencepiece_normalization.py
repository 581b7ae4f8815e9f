"""Texts to the words of a SentencePiece model, in core TensorFlow operations.

ALBERT's own rules (straight quotes, no accents, lower case), the map in the model, and words at white space that begin
with the sign for it, as Hugging Face's fast tokenizers do it. Each character remembers the place that it comes from.
The rules are in sentencepiece_code_points.txt, read off the `tokenizers` library, and in the model's own map.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.text.code_points import NUM_CODE_POINTS, SPECIAL, PageTable, page_table, pooled, read_rule_file
from tftransformer.text.normalization import Constants, look_up
from tftransformer.text.ragged_ops import expansion
from tftransformer.text.sentencepiece_model import LONGEST_KEY

SPACE_SIGN = 0x2581
_QUOTES = (0x60, 0x27)
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


class Characters(NamedTuple):
    """The characters of a batch, texts one after another.

    `points` (C,) int32; `sources` (C,) int32, the places among the characters of the original texts that they come
    from; `row_splits` (B + 1,) int64.
    """

    points: tf.Tensor
    sources: tf.Tensor
    row_splits: tf.Tensor


class Words(NamedTuple):
    """The words of a batch.

    `characters` of all texts; `splits` (W + 1,) int64, where words begin among them; `row_splits` (B + 1,) int64,
    which words are a text's.
    """

    characters: Characters
    splits: tf.Tensor
    row_splits: tf.Tensor


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


class SentencePieceNormalizer:
    """Splits texts into normalised words.

    Args:
        charsmap: The rules of the model's map.
        lowercase: Lower-case the text before that.
        strip_accents: Decompose by compatibility and drop marks before that.
        straighten_quotes: Replace `` and '' by " before all that.
        add_prefix_space: Let each word begin with the sign for white space.
    """

    def __init__(
        self,
        charsmap: Mapping[str, str],
        lowercase: bool = False,
        strip_accents: bool = False,
        straighten_quotes: bool = False,
        add_prefix_space: bool = True,
    ) -> None:
        self.straighten_quotes, self.add_prefix_space = straighten_quotes, add_prefix_space
        self._folding = folding(lowercase, strip_accents) if lowercase or strip_accents else None
        self._charsmap = charsmap_replacements(charsmap) if charsmap else None
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> tuple[Words, tf.Tensor]:
        """The words of `texts` (B,) string, and (B + 1,) int64 where the original texts begin among all characters."""
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        characters = Characters(ragged.values, tf.range(tf.size(ragged.values)), ragged.row_splits)
        if self.straighten_quotes:
            for quote in _QUOTES:
                characters = _straighten(characters, quote)
        if self._folding is not None:
            characters = self._fold(characters)
        if self._charsmap is not None:
            characters = self._map(characters)
        return self._words(characters), ragged.row_splits

    def _look_up(self, name: str, table: PageTable, points: tf.Tensor) -> tf.Tensor:
        return look_up(*self._constant.tables(name, table), points)

    def _fold(self, characters: Characters) -> Characters:
        """Every character on its own; what it turns into comes from its place."""
        rules = self._folding
        entries = self._look_up("folding", rules.table, characters.points)

        def expand() -> Characters:
            index, counts = self._outcome("folding", rules, entries)
            points, part, _ = self._expand("folding", rules, characters.points + entries, index, counts)
            return Characters(
                points, tf.gather(characters.sources, part), _gather_splits(counts, characters.row_splits)
            )

        return tf.cond(
            tf.reduce_any(entries >= SPECIAL),
            expand,
            lambda: characters._replace(points=characters.points + entries),
        )

    def _map(self, characters: Characters) -> Characters:
        """The map in the model, cluster by cluster."""
        entries = self._look_up("charsmap", self._charsmap.table, characters.points)
        flags = self._look_up("flags", flag_table(), characters.points)
        return tf.cond(
            tf.reduce_any((entries >= SPECIAL) | ((flags & CLUSTERS) != 0)),
            lambda: self._map_clusters(characters, entries, flags),
            lambda: characters._replace(points=characters.points + entries),
        )

    def _map_clusters(self, characters: Characters, entries: tf.Tensor, flags: tf.Tensor) -> Characters:
        """A cluster of at most five bytes that begins with a rule's key is replaced as a whole.

        So its other characters vanish: that is how the fast tokenizers read the map. All other characters are looked
        up one by one.
        """
        rules, (points, _, row_splits) = self._charsmap, characters
        size = self._cluster_sizes(points, joined_to_previous(points, flags, _text_starts(row_splits)))
        index, counts = self._outcome("charsmap", rules, entries)
        cluster = self._cluster_rule(points, size)
        replaced = (size > 1) & ((entries != 0) | (cluster >= 0))
        by_cluster = replaced & (entries == 0)
        index = tf.where(by_cluster, cluster, index)
        lengths = self._constant("charsmap_lengths", rules.lengths)
        counts = tf.where(by_cluster, tf.gather(lengths, tf.maximum(cluster, 0)), counts)

        size = tf.where(replaced, size, 1)
        follows = _behind(replaced) | _behind(replaced & (size == LONGEST_CLUSTER), 2)
        counts, size = tf.where(follows, 0, counts), tf.where(follows, 0, size)
        new, part, offset = self._expand("charsmap", rules, points + entries, index, counts)
        sources = _aligned(characters, counts, size, part, offset)
        return Characters(new, sources, _gather_splits(counts, row_splits))

    def _cluster_sizes(self, points: tf.Tensor, joined: tf.Tensor) -> tf.Tensor:
        """(C,) int32: 2 or 3 where a cluster of so many characters and few bytes begins, elsewhere 1."""
        ones = tf.ones_like(points)
        length = ones + tf.cast(points >= 0x80, tf.int32) + tf.cast(points >= 0x800, tf.int32)
        length += tf.cast(points >= 0x10000, tf.int32)
        first, second, third = (_ahead(joined, n) for n in (1, 2, 3))
        pair = length + _ahead(length, 1)
        starts = tf.logical_not(joined) & first
        two = starts & tf.logical_not(second) & (pair <= LONGEST_KEY)
        three = starts & second & tf.logical_not(third) & (pair + _ahead(length, 2) <= LONGEST_KEY)
        return tf.where(three, 3, tf.where(two, 2, ones))

    def _cluster_rule(self, points: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """(C,) int32: the replacement of the first two or three characters of a cluster, or -1."""
        rules = self._charsmap
        keys = self._constant("clusters", rules.clusters)
        index = self._constant("cluster_index", rules.cluster_index)
        packed = tf.cast(points, tf.int64)
        result = tf.fill(tf.shape(points), -1)
        for length in range(2, LONGEST_CLUSTER + 1):
            following = tf.cast(_ahead(points, length - 1), tf.int64)
            packed = tf.bitwise.bitwise_or(tf.bitwise.left_shift(packed, tf.constant(POINT_BITS, tf.int64)), following)
            place = tf.minimum(tf.searchsorted(keys, packed), len(rules.clusters) - 1)
            found = (tf.gather(keys, place) == packed) & (size >= length) & (result < 0)
            result = tf.where(found, tf.gather(index, place), result)
        return result

    def _outcome(self, name: str, rules: Replacements, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The replacement of each character (-1: one character), and how many characters it has."""
        index = tf.where(entries >= SPECIAL, entries - SPECIAL, -1)
        lengths = tf.gather(self._constant(f"{name}_lengths", rules.lengths), tf.maximum(index, 0))
        return index, tf.where(index >= 0, lengths, 1)

    def _expand(
        self, name: str, rules: Replacements, points: tf.Tensor, index: tf.Tensor, counts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The new characters, which old one each belongs to, and its place among those of the same."""
        first, pool = self._constant(f"{name}_first", rules.first), self._constant(f"{name}_pool", rules.pool)
        part, offset = expansion(counts)
        index = tf.gather(index, part)
        place = tf.where(index >= 0, tf.gather(first, tf.maximum(index, 0)) + offset, 0)
        return tf.where(index >= 0, tf.gather(pool, place), tf.gather(points, part)), part, offset

    def _words(self, characters: Characters) -> Words:
        points, sources, row_splits = characters
        letter = (self._look_up("flags", flag_table(), points) & SPACE) == 0
        at_start = tf.range(tf.size(points)) == _text_starts(row_splits)
        opens = letter & (at_start | tf.logical_not(_behind(letter)))
        sign = points == SPACE_SIGN
        prefixed = opens & tf.logical_not(sign) if self.add_prefix_space else tf.zeros_like(opens)
        counts = tf.cast(letter, tf.int32) + tf.cast(prefixed, tf.int32)
        part, offset = expansion(counts)
        first = offset == 0
        points = tf.where(first & tf.gather(prefixed, part), SPACE_SIGN, tf.gather(points, part))
        opens |= sign
        new = Characters(points, tf.gather(sources, part), _gather_splits(counts, row_splits))
        starts = tf.where(first & tf.gather(opens, part))[:, 0]
        word_splits = tf.concat([starts, [tf.size(points, tf.int64)]], 0)
        return Words(new, word_splits, _gather_splits(tf.cast(opens, tf.int32), row_splits))


def _straighten(characters: Characters, quote: int) -> Characters:
    """Two of `quote` become one straight quotation mark, which comes from the second."""
    points, sources, row_splits = characters
    mark = points == quote
    opens = mark & ((tf.range(tf.size(points)) == _text_starts(row_splits)) | tf.logical_not(_behind(mark)))
    run_starts = tf.cast(tf.where(opens)[:, 0], tf.int32)
    run = tf.cumsum(tf.cast(opens, tf.int32)) - 1
    place = tf.range(tf.size(points)) - tf.gather(tf.concat([run_starts, [0]], 0), tf.maximum(run, 0))
    second = mark & (place % 2 == 1)
    keeps = tf.logical_not(_ahead(second, 1))
    points = tf.where(second, ord('"'), points)
    return Characters(
        tf.boolean_mask(points, keeps),
        tf.boolean_mask(sources, keeps),
        _gather_splits(tf.cast(keeps, tf.int32), row_splits),
    )


def _aligned(
    characters: Characters, counts: tf.Tensor, size: tf.Tensor, part: tf.Tensor, offset: tf.Tensor
) -> tf.Tensor:
    """Return where the characters of a mapped text come from, by the bookkeeping of the fast tokenizers.

    Part i had `size[i]` characters and has `counts[i]`. Each new character says how many old ones it replaces: one,
    none if it is in excess, more if it is the last before some that vanish. Characters that vanish at the beginning of
    a text have none before them to say so: there, every later place is too low by their number.
    """
    before = tf.concat([[0], tf.cumsum(counts)], 0)
    text = _text_starts(characters.row_splits)
    sizes, lengths = tf.gather(size, part), tf.gather(counts, part)
    is_last = offset == lengths - 1
    change = tf.where(offset >= sizes, 1, tf.where(is_last & (lengths < sizes), lengths - sizes, 0))
    vanishes = (counts == 0) & (size > 0) & (before[:-1] > tf.gather(before, text))
    removed = tf.math.unsorted_segment_sum(
        tf.boolean_mask(size, vanishes), tf.boolean_mask(before[:-1] - 1, vanishes), tf.size(part)
    )
    change -= removed
    consumed = tf.where(change > 0, 0, 1 - change)
    pointer = tf.concat([[0], tf.cumsum(consumed)], 0)
    text = tf.gather(text, part)
    place = pointer[:-1] - tf.gather(pointer, tf.gather(before, text)) + text
    place -= tf.cast(change > 0, tf.int32)
    return tf.gather(characters.sources, place)


def _text_starts(row_splits: tf.Tensor) -> tf.Tensor:
    """int32 (C,): for each character, the place of the first one of its text."""
    splits = tf.cast(row_splits, tf.int32)
    return tf.repeat(splits[:-1], splits[1:] - splits[:-1])


def _gather_splits(counts: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
    """Row splits after each character has turned into `counts` of them."""
    sums = tf.concat([[0], tf.cumsum(tf.cast(counts, tf.int64))], 0)
    return tf.gather(sums, row_splits)


def _ahead(values: tf.Tensor, steps: int) -> tf.Tensor:
    """Each character's successor's value, `steps` further on; behind the end zero."""
    return tf.concat([values[steps:], tf.zeros_like(values[:steps])], 0)


def _behind(values: tf.Tensor, steps: int = 1, fill: int = 0) -> tf.Tensor:
    """Each character's predecessor's value, `steps` before it; before the beginning `fill`."""
    beginning = tf.fill(tf.shape(values[:steps]), tf.cast(fill, values.dtype))
    return tf.concat([beginning, values[: tf.maximum(tf.size(values) - steps, 0)]], 0)


# Which characters belong to the grapheme cluster before them (Unicode Standard Annex 29), in TensorFlow operations.
#
# Pairs of regional indicators are left out: they have eight bytes, and only clusters of at most five matter here.

_ZERO_WIDTH_JOINER = 0x200D
_CARRIAGE_RETURN, _LINE_FEED = 0xD, 0xA


def joined_to_previous(points: tf.Tensor, flags: tf.Tensor, text_starts: tf.Tensor) -> tf.Tensor:
    """Return whether each character belongs to the cluster of the one before it.

    Args:
        points: int32 (C,), the characters of all texts.
        flags: int32 (C,), their flags.
        text_starts: int32 (C,), the place of the first character of each one's text.

    Returns:
        bool (C,).
    """
    place = tf.range(tf.size(points))
    before = _behind(flags)

    def now(flag: int) -> tf.Tensor:
        return (flags & flag) != 0

    def past(flag: int) -> tf.Tensor:
        return (before & flag) != 0

    hangul = past(LEAD_JAMO) & now(LEAD_JAMO | VOWEL_JAMO | OPEN_SYLLABLE | CLOSED_SYLLABLE)
    hangul |= past(OPEN_SYLLABLE | VOWEL_JAMO) & now(VOWEL_JAMO | TAIL_JAMO)
    hangul |= past(CLOSED_SYLLABLE | TAIL_JAMO) & now(TAIL_JAMO)

    base = _behind(_last_place(tf.logical_not(now(BETWEEN_CONSONANTS))), fill=-1)
    linkers = tf.cumsum(tf.cast(now(LINKER), tf.int32))
    linked = _behind(linkers) > tf.gather(linkers, tf.maximum(base, 0))
    conjunct = now(CONSONANT) & linked & (base >= text_starts)
    conjunct &= (tf.gather(flags, tf.maximum(base, 0)) & CONSONANT) != 0

    base = _behind(_behind(_last_place(tf.logical_not(now(BETWEEN_PICTURES))), fill=-1), fill=-1)
    picture = now(PICTURE) & (_behind(points) == _ZERO_WIDTH_JOINER) & (base >= text_starts)
    picture &= (tf.gather(flags, tf.maximum(base, 0)) & PICTURE) != 0

    joined = now(JOINS) | past(LEADS) | hangul | conjunct | picture
    joined &= tf.logical_not(now(ALONE) | past(ALONE))
    joined |= (_behind(points) == _CARRIAGE_RETURN) & (points == _LINE_FEED)
    return joined & (place > text_starts)


def _last_place(mask: tf.Tensor) -> tf.Tensor:
    """(C,) int32: the last place up to here, itself included, where `mask` holds, or -1."""
    places = tf.concat([[-1], tf.cast(tf.where(mask)[:, 0], tf.int32)], 0)
    return tf.gather(places, tf.cumsum(tf.cast(mask, tf.int32)))


# What the normalisation does to each code point, as two-level tables of integers.


@functools.cache
def _read_rules() -> dict[str, dict[int, tuple[int, ...]]]:
    return read_rule_file(RULES, (*_FLAGS, "mark", "fold", "lower"), "fold")


@functools.cache
def flag_table() -> PageTable:
    """The flags of every code point."""
    flags = np.zeros(NUM_CODE_POINTS, np.int32)
    for kind, flag in _FLAGS.items():
        flags[list(_read_rules()[kind])] |= flag
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
    rules = _read_rules()
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
