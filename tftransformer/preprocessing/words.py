"""The words of texts inside a graph: the same that `data.split_words` finds, in core TensorFlow operations."""

import functools
import sys
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.data.tagged import split_words

# What a character is: no part of a word, a word of its own, or part of a run that is one.
_SPACE, _ALONE, _RUN = range(3)


class Words(NamedTuple):
    """The words of B texts: `text` (B, None) strings; `start` and `end` (B, None) int32, in characters."""

    text: tf.RaggedTensor
    start: tf.RaggedTensor
    end: tf.RaggedTensor


def words_of(texts: tf.Tensor) -> Words:
    """Find the words of texts (B,).

    Example:
        >>> found = words_of(tf.constant(["Off to Rome!"]))
        >>> found.text.numpy().tolist(), found.start.to_list()
        ([[b'Off', b'to', b'Rome', b'!']], [[0, 4, 7, 11]])
    """
    characters = tf.strings.unicode_decode(texts, "UTF-8")
    first, kinds = _kinds()
    kind = tf.gather(tf.constant(kinds), tf.searchsorted(tf.constant(first), characters.values, side="right") - 1)
    row = characters.value_rowids()
    place = tf.range(tf.size(row, tf.int64)) - tf.gather(characters.row_starts(), row)
    goes_on = tf.concat([[False], (kind[1:] == _RUN) & (kind[:-1] == _RUN) & (row[1:] == row[:-1])], 0)[: tf.size(row)]
    begins = (kind != _SPACE) & ~goes_on
    # Of each character the number of its word; what is none belongs nowhere.
    number = tf.cumsum(tf.cast(begins, tf.int64)) - 1
    inside = kind != _SPACE
    count = tf.reduce_sum(tf.cast(begins, tf.int64))
    of_words = tf.RaggedTensor.from_value_rowids(
        tf.boolean_mask(characters.values, inside), tf.boolean_mask(number, inside), nrows=count
    )
    start = tf.cast(tf.boolean_mask(place, begins), tf.int32)
    strings = tf.strings.unicode_encode(of_words, "UTF-8")
    end = start + tf.cast(of_words.row_lengths(), tf.int32)
    rows = tf.boolean_mask(row, begins)
    return Words(*(tf.RaggedTensor.from_value_rowids(v, rows, nrows=characters.nrows()) for v in (strings, start, end)))


@functools.cache
def _kinds() -> tuple[np.ndarray, np.ndarray]:
    """Return the starts of the ranges of characters of one kind, and the kind of each."""
    # Each character three times: a run is one word, others are three.
    kinds = np.empty(sys.maxunicode + 1, "int32")
    for code in range(len(kinds)):
        kinds[code] = {0: _SPACE, 1: _RUN}.get(len(split_words(chr(code) * 3)), _ALONE)
    changes = np.flatnonzero(np.diff(kinds, prepend=-1))
    return changes.astype("int32"), kinds[changes]
