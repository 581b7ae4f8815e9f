"""Byte pair encoding (Sennrich et al. 2016) of many words at once, in core TensorFlow operations.

The definition goes one merge at a time: of all neighbours in a word that have a rank, the two of the lowest
rank become one piece, the leftmost first. Merges that cannot touch each other may be made together, so here
a round makes them for all words, and the number of rounds hardly grows with their number.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.text.byte_bpe_files import byte_characters, check_merges
from tftransformer.text.normalization import Constants
from tftransformer.text.places import row_numbers, splits_of

GONE = -1  # the place of a byte that is no longer the first of a piece


class BytePieces(NamedTuple):
    """The pieces of some words, words one after another.

    `ids` (P,) int32, `places` (P,) int64 of their first bytes in the joined words, `row_splits` (W + 1,)
    int64 into the pieces, `data` (C,) uint8 the joined words, `word_splits` (W + 1,) int64 into the bytes.
    """

    ids: tf.Tensor
    places: tf.Tensor
    row_splits: tf.Tensor
    data: tf.Tensor
    word_splits: tf.Tensor


class MergeTables(NamedTuple):
    """Merges as sorted arrays; rank r is the r-th of them, and their number stands for none.

    `keys` (M + 1,) int64 `left * V + right` in order, closed by the greatest integer; `ranks` (M + 1,) int64
    of those; by rank, `products` (M + 1,) int32 and `follow` (M + 1,) int64, the lowest rank that a merge
    with the product has.
    """

    keys: np.ndarray
    ranks: np.ndarray
    products: np.ndarray
    follow: np.ndarray


class ByteMerger:
    """Cuts words into the pieces of a vocabulary.

    Args:
        vocabulary: The tokens in order of their ids. A byte that has no token is left out of the words.
        merges: "left right" each, the earliest first.

    Raises:
        TransformerError: as `check_merges`.

    Example:
        >>> ByteMerger(["a", "b", "ab"], ["a b"])(tf.constant(["abb", "ba"])).ids.numpy().tolist()
        [2, 1, 1, 0]
    """

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[str]):
        ids = {token: number for number, token in enumerate(vocabulary)}
        self._size = len(vocabulary)
        self._bytes = np.array([ids.get(character, GONE) for character in byte_characters()], np.int32)
        self._tables = build_tables(check_merges(merges, vocabulary), self._size)
        self._constant = Constants()
        # Eagerly, a round would be dozens of calls from Python.
        self._compiled = tf.function(
            self._merge, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
        )

    def __call__(self, words: tf.Tensor) -> BytePieces:
        """Pieces of `words` (W,) string."""
        return self._compiled(words)

    def _merge(self, words: tf.Tensor) -> BytePieces:
        data = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        splits = splits_of(tf.strings.length(words))
        tokens = tf.gather(self._constant("bytes", self._bytes), tf.cast(data, tf.int32))
        live = tf.where(tokens != GONE)[:, 0]
        owners = tf.gather(row_numbers(splits), live)
        tables = MergeTables(*(self._constant(*item) for item in self._tables._asdict().items()))
        tokens, _, _ = tf.while_loop(
            lambda tokens, live, owners: tf.size(live) > 1,
            lambda tokens, live, owners: _round(tokens, live, owners, tables, self._size),
            (tokens, live, owners),
            shape_invariants=(tf.TensorShape([None]),) * 3,
        )
        places = tf.where(tokens != GONE)[:, 0]
        row_splits = tf.searchsorted(places, splits, out_type=tf.int64)
        return BytePieces(tf.gather(tokens, places), places, row_splits, data, splits)


def build_tables(merges: Sequence[tuple[int, int, int]], vocabulary_size: int) -> MergeTables:
    """The tables of some merges.

    Args:
        merges: Ids of the left part, the right part and the result, the earliest first.
        vocabulary_size: Number of tokens.

    Example:
        >>> build_tables([(0, 1, 2), (2, 1, 3)], 4).follow.tolist()
        [1, 2, 2]
    """
    count = len(merges)
    left, right, product = np.array(merges, np.int64).reshape(-1, 3).T
    key = left * vocabulary_size + right
    order = np.argsort(key)
    lowest = np.full(vocabulary_size, count, np.int64)
    ranks = np.arange(count)
    np.minimum.at(lowest, left, ranks)
    np.minimum.at(lowest, right, ranks)
    return MergeTables(
        keys=np.append(key[order], np.iinfo(np.int64).max),
        ranks=np.append(order, count),
        products=np.append(product, GONE).astype(np.int32),
        follow=np.append(lowest[product], count),
    )


def _round(tokens: tf.Tensor, live: tf.Tensor, owners: tf.Tensor, tables: MergeTables, vocabulary_size: int):
    """Makes every merge that no other one can prevent.

    A merge creates neighbours whose rank is at least `follow` of it. So what is present below the least
    `follow` of the word is merged before anything new, and a pair among those is certain if neither
    neighbour precedes it. The first pair of a word always is.

    Args:
        tokens: (C,) int32, at the place of its first byte each piece, elsewhere `GONE`.
        live: (L,) int64, the places of the pieces of words that may have merges left.
        owners: (L,) int64, the words that they belong to.
    """
    none = tables.products.shape[0] - 1
    ids = tf.cast(tf.gather(tokens, live), tf.int64)
    key = ids[:-1] * vocabulary_size + ids[1:]
    found = tf.searchsorted(tables.keys, key)
    known = (tf.gather(tables.keys, found) == key) & (owners[:-1] == owners[1:])
    ranks = tf.concat([tf.where(known, tf.gather(tables.ranks, found), none), [none]], 0)

    size = tf.size(ids, tf.int64)
    order = ranks * size + tf.range(size)
    first = tf.math.segment_min(order, owners)
    limit = tf.math.segment_min(tf.gather(tables.follow, ranks) * size, owners)
    limit = tf.gather(tf.minimum(tf.maximum(limit, first + 1), none * size), owners)
    merged = _certain(ranks) & (order < limit)

    place = tf.where(merged)[:, 0]
    gone = place + 1
    where = tf.concat([tf.gather(live, place), tf.gather(live, gone)], 0)
    products = tf.gather(tables.products, tf.gather(ranks, place))
    tokens = tf.tensor_scatter_nd_update(
        tokens, where[:, tf.newaxis], tf.concat([products, tf.fill(tf.shape(products), GONE)], 0)
    )
    unfinished = tf.gather(first < none * size, owners)
    stays = unfinished & ~tf.concat([[False], merged[:-1]], 0)
    return tokens, tf.boolean_mask(live, stays), tf.boolean_mask(owners, stays)


def _certain(ranks: tf.Tensor) -> tf.Tensor:
    """Whether the pair at each place is merged before both its neighbours: (L,) bool.

    Equal ranks next to each other are one piece repeated: there every second pair is merged.
    """
    before = tf.concat([ranks[:1] + 1, ranks[:-1]], 0)
    after = tf.concat([ranks[1:], ranks[-1:]], 0)
    begins = ranks != before
    starts = tf.where(begins)[:, 0]
    start = tf.gather(starts, tf.cumsum(tf.cast(begins, tf.int32)) - 1)
    even = (tf.range(tf.size(ranks, tf.int64)) - start) % 2 == 0
    lower = tf.gather(ranks < before, start)
    return even & lower & (ranks <= after)
