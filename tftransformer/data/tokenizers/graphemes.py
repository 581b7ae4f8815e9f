"""Which characters belong to the grapheme cluster before them (Unicode Standard Annex 29), in TensorFlow operations.

Pairs of regional indicators are left out: they have eight bytes, and only clusters of at most five matter here.
"""

import tensorflow as tf

from tftransformer.data.tokenizers import sentencepiece_tables as tables

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
