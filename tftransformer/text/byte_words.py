"""Text to the words that byte-level BPE cuts further, in core TensorFlow operations.

Each way to split is a regular expression of its authors. None needs a search from left to right here: whether a word
starts at a character follows from its class, its neighbours' and the contractions around it.

GPT-2 (Radford et al. 2019):

    's|'t|'re|'ve|'m|'ll|'d| ?letters| ?numbers| ?others|spaces before a space or the end|spaces

Llama 3 and Qwen2, which differ in how many digits make a word (contractions in any case):

    's|'t|'re|'ve|'m|'ll|'d|[one character that is no line break, letter or number]?letters|1 to n numbers|
    ?others and line breaks|spaces up to the last line break|spaces before a space or the end|spaces
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.errors import check_choice
from tftransformer.text.code_points import NUM_CODE_POINTS, PageTable, page_table, read_rule_file
from tftransformer.text.normalization import Constants, look_up

# The classes of characters are in a file, read off the `tokenizers` library that Hugging Face's fast tokenizers run on:
# pretrained vocabularies keep the Unicode version they were made with.
CLASSES = Path(__file__).with_name("character_classes.txt")
OTHER, LETTER, NUMBER, SPACE = range(4)
# Ways to split, with the most digits of a word where that is limited. "r50k_digits" is GPT-2's with each digit alone, the
# texts between them split as if each were a text (SmolLM).
SPLITS: dict[str, int | None] = {"r50k": None, "r50k_digits": 1, "cl100k": 3, "cl100k_digits": 1}
APOSTROPHE, BLANK = ord("'"), ord(" ")
SHORT, LONG = "stmd", ("re", "ve", "ll")  # contractions of one letter and of two
LONG_S = 0x17F  # the one other character that is an s where case does not count


class ByteWords(NamedTuple):
    """The words of a batch, texts one after another; together they are the texts, character by character.

    `values` (W,) string, `starts` (W,) int64 places in the batch's characters, `row_splits` (B + 1,)
    int64 into the words, `first_characters` (B,) int64 places of the texts in the batch's characters.
    """

    values: tf.Tensor
    starts: tf.Tensor
    row_splits: tf.Tensor
    first_characters: tf.Tensor


class Characters(NamedTuple):
    """The characters of a batch, texts one after another, (C,) each.

    `points` int32 code points, `kinds` int32 classes, `opens` and `closes` bool: whether it is the first or the last of
    its text.
    """

    points: tf.Tensor
    kinds: tf.Tensor
    opens: tf.Tensor
    closes: tf.Tensor

    @property
    def before(self) -> tf.Tensor:
        """The class of the character before each; -1 where there is none."""
        return tf.where(self.opens, -1, _shifted(self.kinds, -1))

    @property
    def after_blank(self) -> tf.Tensor:
        """True for those behind a blank."""
        return (_shifted(self.points, 0) == BLANK) & ~self.opens


@functools.cache
def class_table() -> PageTable:
    """The class of each code point, about 60 kB."""
    classes = np.full(NUM_CODE_POINTS, OTHER, np.int32)
    for kind, points in read_rule_file(CLASSES, ("letter", "number", "space")).items():
        classes[list(points)] = {"letter": LETTER, "number": NUMBER, "space": SPACE}[kind]
    return page_table(classes)


class ByteWordSplitter:
    """Splits texts into words that keep their spaces.

    Args:
        split: One of `SPLITS`.

    Raises:
        TransformerError: `split` is unknown.

    Example:
        >>> ByteWordSplitter()(tf.constant(["I'm  here!"])).values.numpy().tolist()
        [b'I', b"'m", b' ', b' here', b'!']
        >>> ByteWordSplitter("cl100k")(tf.constant(["(I'm 1234)"])).values.numpy().tolist()
        [b'(I', b"'m", b' ', b'123', b'4', b')']
    """

    def __init__(self, split: str = "r50k"):
        check_choice("split", split, SPLITS)
        self._begins = _word_begins if SPLITS[split] is None or split == "r50k_digits" else _llama_begins
        self._digits, self._alone = SPLITS[split], split == "r50k_digits"
        self._table = class_table()
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> ByteWords:
        """Words of `texts` (B,) string; bytes that are not UTF-8 count as U+FFFD."""
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        points, row_splits = ragged.values, ragged.row_splits
        kinds = look_up(*self._constant.tables("class", self._table), points)
        size = tf.size(points, tf.int64)
        borders = tf.scatter_nd(row_splits[:, tf.newaxis], tf.ones_like(row_splits), [size + 1]) > 0
        if self._alone:
            number = tf.concat([[False], kinds == NUMBER, [False]], 0)
            borders |= number[:-1] | number[1:]
        characters = Characters(points, kinds, borders[:-1], borders[1:])
        begins = self._begins(characters, self._digits)
        starts = tf.where(begins)[:, 0]
        splits = tf.concat([starts, [size]], 0)
        words = tf.RaggedTensor.from_row_splits(points, splits, validate=False)
        return ByteWords(
            tf.strings.unicode_encode(words, "UTF-8"),
            starts,
            tf.searchsorted(starts, row_splits, out_type=tf.int64),
            row_splits[:-1],
        )


def _shifted(values: tf.Tensor, first: int | bool) -> tf.Tensor:
    """The value before each, `first` before the first one."""
    return tf.concat([[first], values], 0)[:-1]


def _word_begins(text: Characters, _: int | None) -> tf.Tensor:
    """Return whether a word of GPT-2's begins at each character: (C,) bool."""
    points, kinds, opens, closes = text
    before = _shifted(kinds, OTHER)
    after = tf.concat([kinds[1:], [OTHER]], 0)[: tf.size(kinds)]
    space = kinds == SPACE
    # Of a run of spaces the last one parts from the others, for the word that follows; at the end it stays.
    last_space = space & (after != SPACE) & ~closes
    joins_blank = (_shifted(points, 0) == BLANK) & ~space
    begins = opens | last_space | ((kinds != before) & ~joins_blank)
    return _with_contractions(begins, points, opens)


def _llama_begins(text: Characters, digits: int) -> tf.Tensor:
    """Return whether a word of Llama 3's begins at each character: (C,) bool."""
    points, kinds, opens, _ = text
    before = text.before
    line_break = (points == ord("\n")) | (points == ord("\r"))
    after_break = _shifted(line_break, False) & ~opens
    changes = kinds != before
    # Line breaks directly behind others are of their word.
    run = line_break & ~after_break
    attached = line_break & _of_run(run, before == OTHER)
    begins = _space_begins(text, (kinds == SPACE) & ~attached, line_break)
    # Letters take the character before them, unless that is of the word before.
    lone = (kinds == OTHER) & changes & ~text.after_blank
    joins = ((before == SPACE) & ~after_break) | (_shifted(lone, False) & ~opens)
    begins |= (kinds == LETTER) & changes & ~joins
    begins |= (kinds == OTHER) & changes & ~text.after_blank
    number = (kinds == NUMBER) & changes
    places = tf.range(tf.size(kinds, tf.int64))
    begins |= (kinds == NUMBER) & ((places - _of_run(number, places)) % digits == 0)
    capital = (points >= ord("A")) & (points <= ord("Z"))
    small = tf.where(points == LONG_S, ord("s"), points + 32 * tf.cast(capital, points.dtype))
    return _with_contractions(begins, small, opens)


def _of_run(starts: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    """The value at the last of the starts up to each place; where there is none, any."""
    places = tf.concat([[0], tf.where(starts)[:, 0]], 0)
    own = tf.gather(places, tf.cumsum(tf.cast(starts, tf.int64)))
    return tf.gather(values, own)


def _space_begins(text: Characters, space: tf.Tensor, line_break: tf.Tensor) -> tf.Tensor:
    """Return whether a word begins at each of the spaces: up to the last line break, up to the last, the last."""
    first = space & ~(_shifted(space, False) & ~text.opens)
    places = tf.where(space)[:, 0]
    run = tf.gather(tf.cumsum(tf.cast(first, tf.int64)), places) - 1
    broken = tf.math.segment_max(tf.where(tf.gather(line_break, places), places, -1), run)
    last_break, end = tf.gather(broken, run), tf.gather(tf.math.segment_max(places, run), run)
    # The last one parts from the others for what follows; at the end of a text it stays, and so does a line break.
    parts = (places == end) & (places > last_break) & ~tf.gather(text.closes, places)
    parts |= (places == last_break + 1) & (last_break >= 0)
    parted = tf.scatter_nd(places[:, tf.newaxis], tf.cast(parts, tf.int32), [tf.size(space, tf.int64)])
    return first | (parted > 0)


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
