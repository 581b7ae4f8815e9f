"""Canonical composition of texts (NFC, Unicode 3.11), in core TensorFlow operations.

The characters of a batch are taken apart, put in canonical order by one stable sort, and put together again: a loop goes
through the second, the third … character of all clusters of the batch at once. Texts that are composed already, as nearly
all are, are only looked through.
"""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.text.code_points import NUM_CODE_POINTS, PageTable, page_table, pooled, read_rule_file
from tftransformer.text.normalization import Constants, look_up
from tftransformer.text.ragged_ops import expansion, row_numbers, splits_of

RULES = Path(__file__).with_name("nfc.txt")
# Each pair of characters as one number.
_SHIFT = 21
# What no character that joins can stand behind.
_NOTHING, _BLOCKED = -1, 256


class Decompositions(NamedTuple):
    """By number of a decomposition, 0 for the characters that have none: where it begins in the pool, and its length."""

    first: np.ndarray
    lengths: np.ndarray
    pool: np.ndarray


class Compositions(NamedTuple):
    """Pairs of characters in order, as `first << 21 | second`, and what they make."""

    keys: np.ndarray
    values: np.ndarray


class Tables(NamedTuple):
    """Tables of the rules: by code point the number of its decomposition, its class, and whether it may join or move."""

    decomposition: PageTable
    decompositions: Decompositions
    order: PageTable
    joins: PageTable
    compositions: Compositions


@functools.cache
def tables() -> Tables:
    """The tables, about 0.5 MB."""
    rules = read_rule_file(RULES, ("class", "decompose", "compose"), "decompose")
    outcomes = {(): 0}
    decomposition, order, joins = (np.zeros(NUM_CODE_POINTS, np.int32) for _ in range(3))
    for point, parts in rules["decompose"].items():
        decomposition[point] = outcomes.setdefault(parts, len(outcomes))
    for point, (value,) in rules["class"].items():
        order[point] = value
    made = {parts: point for point, parts in rules["compose"].items()}
    for syllable in range(0xAC00, 0xAC00 + 19 * 588):
        index = syllable - 0xAC00
        if index % 28:
            made[syllable - index % 28, 0x11A7 + index % 28] = syllable
        else:
            made[0x1100 + index // 588, 0x1161 + index % 588 // 28] = syllable
    joins[[second for _, second in made]] = 1
    # A character that is taken apart, and not put together as it was, or that marks move around.
    changes = [point for point in rules["decompose"] if point not in rules["compose"] and not 0xAC00 <= point < 0xD7A4]
    joins[[*changes, *rules["class"]]] = 1
    keys = np.array(sorted((first << _SHIFT) | second for first, second in made), np.int64)
    values = np.array([made[key >> _SHIFT, key & ((1 << _SHIFT) - 1)] for key in keys.tolist()], np.int32)
    return Tables(
        page_table(decomposition),
        Decompositions(*pooled(outcomes)),
        page_table(order),
        page_table(joins),
        Compositions(np.append(keys, np.iinfo(np.int64).max), np.append(values, np.int32(_NOTHING))),
    )


class Composer:
    """Texts in NFC.

    Example:
        >>> Composer()(tf.constant(["e\u0301"])).numpy()[0].decode() == "\u00e9"
        True
    """

    def __init__(self) -> None:
        self._tables = tables()
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """(B,) strings composed; bytes that are not UTF-8 become U+FFFD where anything changes."""
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        may_change = tf.reduce_any(self._entry("joins", ragged.values) > 0)
        return tf.cond(may_change, lambda: self._composed(ragged.values, ragged.row_splits), lambda: texts)

    def _entry(self, name: str, points: tf.Tensor) -> tf.Tensor:
        return look_up(*self._constant.tables(name, getattr(self._tables, name)), points)

    def _composed(self, points: tf.Tensor, row_splits: tf.Tensor) -> tf.Tensor:
        # A graph does not know the rank of what it scatters.
        points, rows = self._decomposed(points, tf.ensure_shape(row_numbers(row_splits), [None]))
        points, classes = self._ordered(points, rows)
        points = self._joined(points, classes, rows)
        kept = points != _NOTHING
        lengths = tf.math.unsorted_segment_sum(tf.cast(kept, tf.int64), rows, tf.size(row_splits) - 1)
        words = tf.RaggedTensor.from_row_splits(tf.boolean_mask(points, kept), splits_of(lengths), validate=False)
        return tf.strings.unicode_encode(words, "UTF-8")

    def _decomposed(self, points: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number = self._entry("decomposition", points)
        known = self._constant.tables("decompositions", self._tables.decompositions)
        source, part = expansion(tf.where(number > 0, tf.gather(known.lengths, number), 1))
        own = tf.gather(number, source)
        place = tf.where(own > 0, tf.gather(known.first, own) + part, 0)
        return tf.where(own > 0, tf.gather(known.pool, place), tf.gather(points, source)), tf.gather(rows, source)

    def _ordered(self, points: tf.Tensor, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The characters with each run of marks in the order of their classes, and the classes."""
        classes = self._entry("order", points)
        begins = (classes == 0) | _opens(rows)
        cluster = tf.cumsum(tf.cast(begins, tf.int64))
        order = tf.argsort(cluster * 256 + tf.cast(classes, tf.int64), stable=True)
        return tf.gather(points, order), tf.gather(classes, order)

    def _joined(self, points: tf.Tensor, classes: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        """The characters with those that went into another one as `_NOTHING`."""
        begins = (self._entry("joins", points) == 0) | _opens(rows)
        starts = tf.where(begins)[:, 0]
        ends = tf.concat([starts[1:], [tf.size(points, tf.int64)]], 0)
        several = ends - starts > 1
        starts, ends = tf.boolean_mask(starts, several), tf.boolean_mask(ends, several)
        first = tf.gather(classes, starts)
        # In each cluster: the place of the character that others join, and the class of the last one that did not join.
        base, last = starts, tf.where(first == 0, 0, _BLOCKED)
        compositions = self._constant.tables("compositions", self._tables.compositions)

        def step(number: tf.Tensor, points: tf.Tensor, base: tf.Tensor, last: tf.Tensor) -> tuple:
            inside = starts + number < ends
            place = tf.minimum(starts + number, ends - 1)
            point, own = tf.gather(points, place), tf.gather(classes, place)
            key = tf.cast(tf.gather(points, base), tf.int64) * 2**_SHIFT + tf.cast(point, tf.int64)
            found = tf.searchsorted(compositions.keys, key)
            joins = inside & (tf.gather(compositions.keys, found) == key) & ((last < own) | (last == 0))
            where = tf.concat([tf.boolean_mask(base, joins), tf.boolean_mask(place, joins)], 0)
            made = tf.boolean_mask(tf.gather(compositions.values, found), joins)
            points = tf.tensor_scatter_nd_update(
                points, where[:, tf.newaxis], tf.concat([made, tf.fill(tf.shape(made), _NOTHING)], 0)
            )
            stays = inside & ~joins
            return number + 1, points, tf.where(stays & (own == 0), place, base), tf.where(stays, own, last)

        most = tf.reduce_max(tf.concat([ends - starts, [1]], 0))
        return tf.while_loop(
            lambda number, *_: number < most,
            step,
            (tf.constant(1, tf.int64), points, base, last),
            shape_invariants=(tf.TensorShape([]), *[tf.TensorShape([None])] * 3),
        )[1]


def _opens(rows: tf.Tensor) -> tf.Tensor:
    """Return whether each character is the first of its row."""
    return rows != tf.concat([[-1], rows], 0)[:-1]
