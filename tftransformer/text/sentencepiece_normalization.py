"""Texts to the words of a SentencePiece model, in core TensorFlow operations.

ALBERT's own rules (straight quotes, no accents, lower case), the map in the model, and words at white space that begin
with the sign for it, as Hugging Face's fast tokenizers do it. Each character remembers the place that it comes from.
"""

from collections.abc import Mapping
from typing import NamedTuple

import tensorflow as tf

from tftransformer.text import sentencepiece_tables as tables
from tftransformer.text.normalization import Constants, look_up

SPACE_SIGN = 0x2581
_LONGEST_KEY = 5  # bytes
_QUOTES = (0x60, 0x27)


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
        self._folding = tables.folding(lowercase, strip_accents) if lowercase or strip_accents else None
        self._charsmap = tables.charsmap_replacements(charsmap) if charsmap else None
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

    def _look_up(self, name: str, table: tables.PageTable, points: tf.Tensor) -> tf.Tensor:
        parts = (self._constant(f"{name}_{part}", values) for part, values in table._asdict().items())
        return look_up(*parts, points)

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
            tf.reduce_any(entries >= tables.SPECIAL),
            expand,
            lambda: characters._replace(points=characters.points + entries),
        )

    def _map(self, characters: Characters) -> Characters:
        """The map in the model, cluster by cluster."""
        entries = self._look_up("charsmap", self._charsmap.table, characters.points)
        flags = self._look_up("flags", tables.flag_table(), characters.points)
        return tf.cond(
            tf.reduce_any((entries >= tables.SPECIAL) | ((flags & tables.CLUSTERS) != 0)),
            lambda: self._map_clusters(characters, entries, flags),
            lambda: characters._replace(points=characters.points + entries),
        )

    def _map_clusters(self, characters: Characters, entries: tf.Tensor, flags: tf.Tensor) -> Characters:
        """A cluster of at most five bytes that begins with a rule's key is replaced as a whole.

        So its other characters vanish: that is how the fast tokenizers read the map. All other characters are looked
        up one by one.
        """
        rules, (points, _, row_splits) = self._charsmap, characters
        splits = tf.cast(row_splits, tf.int32)
        text_starts = tf.repeat(splits[:-1], splits[1:] - splits[:-1])
        size = self._cluster_sizes(points, joined_to_previous(points, flags, text_starts))
        index, counts = self._outcome("charsmap", rules, entries)
        cluster = self._cluster_rule(points, size)
        replaced = (size > 1) & ((entries != 0) | (cluster >= 0))
        by_cluster = replaced & (entries == 0)
        index = tf.where(by_cluster, cluster, index)
        lengths = self._constant("charsmap_lengths", rules.lengths)
        counts = tf.where(by_cluster, tf.gather(lengths, tf.maximum(cluster, 0)), counts)

        size = tf.where(replaced, size, 1)
        follows = _behind(replaced, 1) | _behind(replaced & (size == tables.LONGEST_CLUSTER), 2)
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
        two = starts & tf.logical_not(second) & (pair <= _LONGEST_KEY)
        three = starts & second & tf.logical_not(third) & (pair + _ahead(length, 2) <= _LONGEST_KEY)
        return tf.where(three, 3, tf.where(two, 2, ones))

    def _cluster_rule(self, points: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
        """(C,) int32: the replacement of the first two or three characters of a cluster, or -1."""
        rules = self._charsmap
        keys = self._constant("clusters", rules.clusters)
        index = self._constant("cluster_index", rules.cluster_index)
        packed = tf.cast(points, tf.int64)
        result = tf.fill(tf.shape(points), -1)
        for length in range(2, tables.LONGEST_CLUSTER + 1):
            following = tf.cast(_ahead(points, length - 1), tf.int64)
            packed = tf.bitwise.bitwise_or(
                tf.bitwise.left_shift(packed, tf.constant(tables.POINT_BITS, tf.int64)), following
            )
            place = tf.minimum(tf.searchsorted(keys, packed), len(rules.clusters) - 1)
            found = (tf.gather(keys, place) == packed) & (size >= length) & (result < 0)
            result = tf.where(found, tf.gather(index, place), result)
        return result

    def _outcome(self, name: str, rules: tables.Replacements, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The replacement of each character (-1: one character), and how many characters it has."""
        index = tf.where(entries >= tables.SPECIAL, entries - tables.SPECIAL, -1)
        lengths = tf.gather(self._constant(f"{name}_lengths", rules.lengths), tf.maximum(index, 0))
        return index, tf.where(index >= 0, lengths, 1)

    def _expand(
        self, name: str, rules: tables.Replacements, points: tf.Tensor, index: tf.Tensor, counts: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The new characters, which old one each belongs to, and its place among those of the same."""
        first, pool = self._constant(f"{name}_first", rules.first), self._constant(f"{name}_pool", rules.pool)
        part = tf.repeat(tf.range(tf.size(counts)), counts)
        offset = tf.range(tf.size(part)) - tf.gather(tf.cumsum(counts, exclusive=True), part)
        index = tf.gather(index, part)
        place = tf.where(index >= 0, tf.gather(first, tf.maximum(index, 0)) + offset, 0)
        return tf.where(index >= 0, tf.gather(pool, place), tf.gather(points, part)), part, offset

    def _words(self, characters: Characters) -> Words:
        points, sources, row_splits = characters
        letter = (self._look_up("flags", tables.flag_table(), points) & tables.SPACE) == 0
        splits = tf.cast(row_splits, tf.int32)
        text_starts = tf.repeat(splits[:-1], splits[1:] - splits[:-1])
        at_start = tf.range(tf.size(points)) == text_starts
        opens = letter & (at_start | tf.logical_not(_behind(letter, 1)))
        sign = points == SPACE_SIGN
        prefixed = opens & tf.logical_not(sign) if self.add_prefix_space else tf.zeros_like(opens)
        counts = tf.cast(letter, tf.int32) + tf.cast(prefixed, tf.int32)
        part = tf.repeat(tf.range(tf.size(counts)), counts)
        first = tf.range(tf.size(part)) == tf.gather(tf.cumsum(counts, exclusive=True), part)
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
    splits = tf.cast(row_splits, tf.int32)
    text_starts = tf.repeat(splits[:-1], splits[1:] - splits[:-1])
    opens = mark & ((tf.range(tf.size(points)) == text_starts) | tf.logical_not(_behind(mark, 1)))
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
    """Where the characters of a mapped text come from, by the bookkeeping of the fast tokenizers.

    Part i had `size[i]` characters and has `counts[i]`. Each new character says how many old ones it stands for: one,
    none if it is in excess, more if it is the last before some that vanish. Characters that vanish at the beginning of
    a text have none before them to say so: there, every later place is too low by their number.
    """
    row_splits = tf.cast(characters.row_splits, tf.int32)
    before = tf.concat([[0], tf.cumsum(counts)], 0)
    text = tf.repeat(row_splits[:-1], row_splits[1:] - row_splits[:-1])
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


def _gather_splits(counts: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
    """Row splits after each character has turned into `counts` of them."""
    sums = tf.concat([[0], tf.cumsum(tf.cast(counts, tf.int64))], 0)
    return tf.gather(sums, row_splits)


def _ahead(values: tf.Tensor, steps: int) -> tf.Tensor:
    """Each character's successor's value, `steps` further on; behind the end zero."""
    return tf.concat([values[steps:], tf.zeros_like(values[:steps])], 0)


def _behind(values: tf.Tensor, steps: int) -> tf.Tensor:
    """Each character's predecessor's value; before the beginning zero."""
    return tf.concat([tf.zeros_like(values[:steps]), values[: tf.maximum(tf.size(values) - steps, 0)]], 0)


# Which characters belong to the grapheme cluster before them (Unicode Standard Annex 29), in TensorFlow operations.
#
# Pairs of regional indicators are left out: they have eight bytes, and only clusters of at most five matter here.

_ZERO_WIDTH_JOINER = 0x200D
_CARRIAGE_RETURN, _LINE_FEED = 0xD, 0xA


def joined_to_previous(points: tf.Tensor, flags: tf.Tensor, text_starts: tf.Tensor) -> tf.Tensor:
    """Whether no cluster begins at a character.

    Args:
        points: int32 (C,), the characters of all texts.
        flags: int32 (C,), their flags (sentencepiece_tables.py).
        text_starts: int32 (C,), the place of the first character of each one's text.

    Returns:
        bool (C,).
    """
    place = tf.range(tf.size(points))
    before = _shift(flags)

    def now(flag: int) -> tf.Tensor:
        return (flags & flag) != 0

    def past(flag: int) -> tf.Tensor:
        return (before & flag) != 0

    hangul = past(tables.LEAD_JAMO) & now(
        tables.LEAD_JAMO | tables.VOWEL_JAMO | tables.OPEN_SYLLABLE | tables.CLOSED_SYLLABLE
    )
    hangul |= past(tables.OPEN_SYLLABLE | tables.VOWEL_JAMO) & now(tables.VOWEL_JAMO | tables.TAIL_JAMO)
    hangul |= past(tables.CLOSED_SYLLABLE | tables.TAIL_JAMO) & now(tables.TAIL_JAMO)

    base = _shift(_last_place(tf.logical_not(now(tables.BETWEEN_CONSONANTS))), fill=-1)
    linkers = tf.cumsum(tf.cast(now(tables.LINKER), tf.int32))
    linked = _shift(linkers) > tf.gather(linkers, tf.maximum(base, 0))
    conjunct = now(tables.CONSONANT) & linked & (base >= text_starts)
    conjunct &= (tf.gather(flags, tf.maximum(base, 0)) & tables.CONSONANT) != 0

    base = _shift(_shift(_last_place(tf.logical_not(now(tables.BETWEEN_PICTURES))), fill=-1), fill=-1)
    picture = now(tables.PICTURE) & (_shift(points) == _ZERO_WIDTH_JOINER) & (base >= text_starts)
    picture &= (tf.gather(flags, tf.maximum(base, 0)) & tables.PICTURE) != 0

    joined = now(tables.JOINS) | past(tables.LEADS) | hangul | conjunct | picture
    joined &= tf.logical_not(now(tables.ALONE) | past(tables.ALONE))
    joined |= (_shift(points) == _CARRIAGE_RETURN) & (points == _LINE_FEED)
    return joined & (place > text_starts)


def _shift(values: tf.Tensor, fill: int = 0) -> tf.Tensor:
    """Each character's predecessor's value."""
    return tf.concat([tf.fill([1], tf.constant(fill, values.dtype)), values[:-1]], 0)[: tf.size(values)]


def _last_place(mask: tf.Tensor) -> tf.Tensor:
    """(C,) int32: the last place up to here, itself included, where `mask` holds, or -1."""
    places = tf.concat([[-1], tf.cast(tf.where(mask)[:, 0], tf.int32)], 0)
    return tf.gather(places, tf.cumsum(tf.cast(mask, tf.int32)))
