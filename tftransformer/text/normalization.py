"""Text to normalised words as BERT does it, in core TensorFlow operations.

Cleaning, CJK spacing, accent stripping and lower case (Devlin et al. 2018, `BasicTokenizer`), with the
character classes of Hugging Face's fast tokenizer, all by table lookup over the batch's characters.
"""

from typing import NamedTuple, TypeVar

import numpy as np
import tensorflow as tf

from tftransformer.text import code_points as cp
from tftransformer.text.ragged_ops import expansion

Tables = TypeVar("Tables", bound=tuple)


class Words(NamedTuple):
    """The words of a batch.

    `values` (W,) string, `lengths` (W,) int64 in characters, `row_splits` (B + 1,) int64.
    """

    values: tf.Tensor
    lengths: tf.Tensor
    row_splits: tf.Tensor


class WordSplitter:
    """Splits texts into normalised words.

    Args:
        lowercase: Map letters to lower case. Defaults to True, as for BERT's uncased checkpoints.
        strip_accents: Drop accents. None (the default) does what `lowercase` does, as BERT does.
        split_on_cjk: Make each CJK ideograph a word. Defaults to True, as for all BERT checkpoints.

    Example:
        >>> WordSplitter()(tf.constant(["Crème brûlée!"])).values.numpy().tolist()
        [b'creme', b'brulee', b'!']
    """

    def __init__(self, lowercase: bool = True, strip_accents: bool | None = None, split_on_cjk: bool = True):
        strip = lowercase if strip_accents is None else strip_accents
        self._settings = (bool(lowercase), bool(strip), bool(split_on_cjk))
        self._tables = cp.build_tables(*self._settings)
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> Words:
        """Words of `texts` (B,) string; bytes that are not UTF-8 count as U+FFFD, which is dropped."""
        values, row_splits, _ = self._normalise(_decode(texts), self._tables, "plain")
        return self._words(values, row_splits)

    def with_sources(self, texts: tf.Tensor) -> tuple[Words, tf.Tensor, tf.Tensor]:
        """Words as above, and the places of each of their letters (L,) and of each text (B,) in the batch's characters.

        Letters that come from one character, or changed places, have the places that Hugging Face gives them.
        """
        texts = _decode(texts)
        tables = cp.build_tables(*self._settings, tracked=True)
        values, row_splits, sources = self._normalise(texts, tables, "tracked")
        letters = tf.boolean_mask(sources, _is_letter(values))
        return self._words(values, row_splits), letters, texts.row_splits[:-1]

    def _normalise(self, texts: tf.RaggedTensor, tables: cp.CodePointTables, name: str):
        """From code points (B, None) to symbols of code_points.py, texts one after another.

        Returns:
            The symbols (C,) int32, row splits (B + 1,) int64, and the place that each comes from, int64, for tables
            that track.
        """
        tables = self._constant.tables(name, tables)
        points, row_splits = texts.values, texts.row_splits
        entries = look_up(tables.pages, tables.entries, points)
        symbols = points + entries
        special = entries >= cp.SPECIAL
        values, row_splits, sources = tf.cond(
            tf.reduce_any(special),
            lambda: _expand(symbols, entries, special, row_splits, tables, name == "tracked"),
            lambda: (symbols, row_splits, tf.range(tf.size(points) if name == "tracked" else 0)),
        )
        return values, row_splits, tf.cast(sources, tf.int64)

    def _words(self, values: tf.Tensor, row_splits: tf.Tensor) -> Words:
        letter = _is_letter(values)
        # A word ends after a space and on both sides of an isolated character.
        closes = (values & (cp.SPACE | cp.ISOLATED)) != 0
        opens = letter & (tf.concat([[True], closes[:-1]], 0) | ((values & cp.ISOLATED) != 0))
        words_before = _cumulative(tf.cast(opens, tf.int32))
        letters = tf.boolean_mask(values, letter) & cp.CODE_POINT
        starts = tf.where(tf.boolean_mask(opens, letter))[:, 0]
        splits = tf.concat([starts, [tf.size(letters, tf.int64)]], 0)
        words = tf.RaggedTensor.from_row_splits(letters, splits, validate=False)
        return Words(
            tf.strings.unicode_encode(words, "UTF-8"),
            splits[1:] - splits[:-1],
            tf.cast(tf.gather(words_before, row_splits), tf.int64),
        )


class Constants:
    """Constant tensors that are made once for eager use, and once in every graph that asks for them.

    A graph must hold its own: a captured eager tensor would tie an exported graph to this process.
    """

    def __init__(self):
        self._eager: dict[str, tf.Tensor] = {}

    def __call__(self, name: str, value: np.ndarray) -> tf.Tensor:
        if not tf.executing_eagerly():
            return tf.constant(value, name=name)
        if name not in self._eager:
            with tf.device("CPU"):
                self._eager[name] = tf.constant(value)
        return self._eager[name]

    def tables(self, name: str, arrays: Tables) -> Tables:
        """The same named tuple, of constants instead of arrays."""
        return type(arrays)(*(self(f"{name}_{field}", array) for field, array in arrays._asdict().items()))


def look_up(pages: tf.Tensor, entries: tf.Tensor, points: tf.Tensor) -> tf.Tensor:
    """Return the entries of a `PageTable` for (C,) code points: (C,) int32."""
    page = tf.gather(pages, points // cp.PAGE_SIZE)
    return tf.gather(entries, page * cp.PAGE_SIZE + points % cp.PAGE_SIZE)


def _decode(texts: tf.Tensor) -> tf.RaggedTensor:
    """(B,) string -> (B, None) code points, and a space behind each text.

    The space keeps the last word of one text apart from the first word of the next.
    """
    return tf.strings.unicode_decode(tf.strings.join([texts, " "]), "UTF-8", errors="replace")


def _is_letter(values: tf.Tensor) -> tf.Tensor:
    return (values & cp.SPACE) == 0


def _expand(
    symbols: tf.Tensor,
    entries: tf.Tensor,
    special: tf.Tensor,
    row_splits: tf.Tensor,
    tables: cp.CodePointTables,
    tracked: bool,
):
    """Replaces the symbols that turn into none or several: values, row splits, places they come from."""
    index = tf.where(special, entries - cp.SPECIAL, 0)
    counts = tf.where(special, tf.gather(tables.lengths, index), 1)
    ends = _cumulative(counts)
    source, offset = expansion(counts)
    expanded = tf.gather(special, source)
    place = tf.where(expanded, tf.gather(tables.first, tf.gather(index, source)) + offset, 0)
    values = tf.where(expanded, tf.gather(tables.pool, place), tf.gather(symbols, source))
    row_splits = tf.cast(tf.gather(ends, row_splits), tf.int64)

    rank = tf.bitwise.right_shift(values, cp.CLASS_SHIFT)
    disordered = tf.reduce_any((rank[:-1] > rank[1:]) & (rank[1:] > 0))
    values, source = tf.cond(
        disordered, lambda: _canonical_order(values, rank, source, offset == 0), lambda: (values, source)
    )
    stays = (values & cp.VANISHES) == 0
    row_splits = tf.cast(tf.gather(_cumulative(tf.cast(stays, tf.int32)), row_splits), tf.int64)
    source = tf.boolean_mask(source, stays) if tracked else tf.range(0)
    return tf.boolean_mask(values, stays), row_splits, source


def _cumulative(counts: tf.Tensor) -> tf.Tensor:
    """(C,) int32 -> (C + 1,): sums of the first 0, 1, ... C counts."""
    return tf.concat([[0], tf.cumsum(counts)], 0)


def _canonical_order(values: tf.Tensor, rank: tf.Tensor, source: tf.Tensor, whole: tf.Tensor):
    """Sorts every run of combining marks by class, stably (Unicode 3.11, Canonical Ordering Algorithm).

    Hugging Face counts off the characters of the text against the sorted marks: the k-th among
    those that are `whole`, and no further part of a character, gets the place of the k-th before.
    """
    run = tf.cumsum(tf.cast(rank == 0, tf.int64))
    order = tf.argsort(run * 64 + tf.cast(rank, tf.int64), stable=True)
    number = tf.cumsum(tf.cast(tf.gather(whole, order), tf.int32)) - 1
    return tf.gather(values, order), tf.gather(tf.boolean_mask(source, whole), number)
