"""Text to words as GPT-2 splits it (Radford et al. 2019), in core TensorFlow operations.

    's | 't | 're | 've | 'm | 'll | 'd | ?letters | ?numbers | ?others | spaces before a space or the end | spaces

The regular expression needs no search from left to right: whether a word starts at a character follows
from its class, its neighbours' and the contractions around it.
"""

from typing import NamedTuple

import tensorflow as tf

from tftransformer.data.tokenizers import character_classes as classes
from tftransformer.data.tokenizers.normalization import Constants

APOSTROPHE, BLANK = ord("'"), ord(" ")
SHORT, LONG = "stmd", ("re", "ve", "ll")  # contractions of one letter and of two


class ByteWords(NamedTuple):
    """The words of a batch, texts one after another; together they are the texts, character by character.

    `values` (W,) string, `starts` (W,) int64 places in the batch's characters, `row_splits` (B + 1,)
    int64 into the words, `first_characters` (B,) int64 places of the texts in the batch's characters.
    """

    values: tf.Tensor
    starts: tf.Tensor
    row_splits: tf.Tensor
    first_characters: tf.Tensor


class ByteWordSplitter:
    """Splits texts into words that keep their spaces.

    Example:
        >>> ByteWordSplitter()(tf.constant(["I'm  here!"])).values.numpy().tolist()
        [b'I', b"'m", b' ', b' here', b'!']
    """

    def __init__(self):
        self._table = classes.build_class_table()
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> ByteWords:
        """Words of `texts` (B,) string; bytes that are not UTF-8 count as U+FFFD."""
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        points, row_splits = ragged.values, ragged.row_splits
        begins = _word_begins(points, self._classes(points), row_splits)
        starts = tf.where(begins)[:, 0]
        splits = tf.concat([starts, [tf.size(points, tf.int64)]], 0)
        words = tf.RaggedTensor.from_row_splits(points, splits, validate=False)
        return ByteWords(
            tf.strings.unicode_encode(words, "UTF-8"),
            starts,
            tf.searchsorted(starts, row_splits, out_type=tf.int64),
            row_splits[:-1],
        )

    def _classes(self, points: tf.Tensor) -> tf.Tensor:
        """(C,) code points -> (C,) int32 classes."""
        page = tf.gather(self._constant("class_pages", self._table.pages), points // classes.PAGE_SIZE)
        place = page * classes.PAGE_SIZE + points % classes.PAGE_SIZE
        return tf.gather(self._constant("class_entries", self._table.entries), place)


def _word_begins(points: tf.Tensor, kinds: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
    """Whether a word begins at each character: (C,) bool."""
    size = tf.size(points, tf.int64)
    borders = tf.scatter_nd(row_splits[:, tf.newaxis], tf.ones_like(row_splits), [size + 1]) > 0
    opens, closes = borders[:-1], borders[1:]  # the first and the last character of a text
    before = tf.concat([[classes.OTHER], kinds], 0)[:-1]
    after = tf.concat([kinds[1:], [classes.OTHER]], 0)[:size]
    space = kinds == classes.SPACE
    # Of a run of spaces the last one parts from the others, for the word that follows; at the end it stays.
    last_space = space & (after != classes.SPACE) & ~closes
    joins_blank = (tf.concat([[0], points], 0)[:-1] == BLANK) & ~space
    begins = opens | last_space | ((kinds != before) & ~joins_blank)
    return _with_contractions(begins, points, opens)


def _with_contractions(begins: tf.Tensor, points: tf.Tensor, opens: tf.Tensor) -> tf.Tensor:
    """Makes each contraction a word: an apostrophe that begins one, and the letters after it."""
    apostrophes = tf.where(begins & (points == APOSTROPHE))
    # What begins a text continues no contraction.
    ahead = tf.concat([tf.where(opens, -1, points), [-1, -1]], 0)
    first, second = tf.gather(ahead, apostrophes + 1), tf.gather(ahead, apostrophes + 2)
    short = tf.reduce_any([first == ord(a) for a in SHORT], 0)
    long = tf.reduce_any([(first == ord(a)) & (second == ord(b)) for a, b in LONG], 0)
    lengths = 2 * tf.cast(short, tf.int64) + 3 * tf.cast(long, tf.int64)
    found = lengths > 0
    starts, lengths = tf.boolean_mask(apostrophes, found), tf.boolean_mask(lengths, found)
    places = tf.concat([starts + 1, starts + lengths], 0)
    flags = tf.concat([tf.zeros_like(starts, tf.bool), tf.ones_like(starts, tf.bool)], 0)
    begins = tf.concat([begins, [False]], 0)
    return tf.tensor_scatter_nd_update(begins, places[:, tf.newaxis], flags)[:-1]
