"""Text to normalised words as BERT does it, in core TensorFlow operations.

Cleaning, CJK spacing, accent stripping and lower case (Devlin et al. 2018, `BasicTokenizer`), with the
character classes of Hugging Face's fast tokenizer, all by table lookup over the batch's characters.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.data.tokenizers import code_points as cp


class Symbols(NamedTuple):
    """The characters of a batch after normalisation, texts one after another.

    `values` (C,) int32 symbols of code_points.py, `row_splits` (B + 1,) int64.
    """

    values: tf.Tensor
    row_splits: tf.Tensor


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
        self.tables = cp.build_tables(bool(lowercase), bool(strip), bool(split_on_cjk))
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> Words:
        """Words of `texts` (B,) string; bytes that are not UTF-8 count as U+FFFD, which is dropped."""
        return self._words(self.symbols(texts))

    def symbols(self, texts: tf.Tensor) -> Symbols:
        """Normalised characters of `texts` (B,) string. Each text ends in one space more than it had."""
        # The space keeps the last word of one text apart from the first word of the next.
        ragged = tf.strings.unicode_decode(tf.strings.join([texts, " "]), "UTF-8", errors="replace")
        points, row_splits = ragged.values, ragged.row_splits
        pages, table = (
            self._constant("pages", self.tables.pages),
            self._constant("entries", self.tables.entries),
        )
        page = tf.gather(pages, points // cp.PAGE_SIZE)
        entries = tf.gather(table, page * cp.PAGE_SIZE + points % cp.PAGE_SIZE)
        symbols = points + entries
        special = entries >= cp.SPECIAL
        values, row_splits = tf.cond(
            tf.reduce_any(special),
            lambda: self._expand(symbols, entries, special, row_splits),
            lambda: (symbols, row_splits),
        )
        return Symbols(values, row_splits)

    def _expand(self, symbols: tf.Tensor, entries: tf.Tensor, special: tf.Tensor, row_splits: tf.Tensor):
        """Replaces the symbols that turn into none or several."""
        first = self._constant("first", self.tables.first)
        lengths = self._constant("lengths", self.tables.lengths)
        pool = self._constant("pool", self.tables.pool)
        index = tf.where(special, entries - cp.SPECIAL, 0)
        counts = tf.where(special, tf.gather(lengths, index), 1)
        ends = _cumulative(counts)
        source = tf.repeat(tf.range(tf.size(counts)), counts)
        offset = tf.range(tf.size(source)) - tf.gather(ends, source)
        expanded = tf.gather(special, source)
        place = tf.where(expanded, tf.gather(first, tf.gather(index, source)) + offset, 0)
        values = tf.where(expanded, tf.gather(pool, place), tf.gather(symbols, source))
        row_splits = tf.cast(tf.gather(ends, row_splits), tf.int64)

        rank = tf.bitwise.right_shift(values, cp.CLASS_SHIFT)
        disordered = tf.reduce_any((rank[:-1] > rank[1:]) & (rank[1:] > 0))
        values = tf.cond(disordered, lambda: _canonical_order(values, rank), lambda: values)
        stays = (values & cp.VANISHES) == 0
        row_splits = tf.cast(tf.gather(_cumulative(tf.cast(stays, tf.int32)), row_splits), tf.int64)
        return tf.boolean_mask(values, stays), row_splits

    def _words(self, symbols: Symbols) -> Words:
        values, row_splits = symbols
        letter = (values & cp.SPACE) == 0
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


def _cumulative(counts: tf.Tensor) -> tf.Tensor:
    """(C,) int32 -> (C + 1,): sums of the first 0, 1, ... C counts."""
    return tf.concat([[0], tf.cumsum(counts)], 0)


def _canonical_order(values: tf.Tensor, rank: tf.Tensor) -> tf.Tensor:
    """Sorts every run of combining marks by class, stably (Unicode 3.11, Canonical Ordering Algorithm)."""
    run = tf.cumsum(tf.cast(rank == 0, tf.int64))
    return tf.gather(values, tf.argsort(run * 64 + tf.cast(rank, tf.int64), stable=True))
