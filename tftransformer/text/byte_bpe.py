"""Byte-level BPE (Radford et al. 2019) as in GPT-2 and RoBERTa (Liu et al. 2019), as TensorFlow operations.

Each different word of a batch is cut once.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tftransformer.text.base import Tokenizer, Tokens, as_texts, check_switches
from tftransformer.text.byte_bpe_files import (
    byte_characters,
    check_merges,
    check_vocabulary,
    merges_bytes,
    parse_merges,
    parse_vocabulary_json,
    vocabulary_json_bytes,
)
from tftransformer.text.byte_words import BLANK, ByteWords, ByteWordSplitter
from tftransformer.text.nfc import Composer
from tftransformer.text.normalization import Constants
from tftransformer.text.ragged_ops import characters_begun, row_numbers, splits_of

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
    """Merges as sorted arrays; rank r is the r-th of them, and their number means none.

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
        vocabulary: The tokens in order of their ids.
        merges: "left right" each, the earliest first.
        whole: Bytes of words that are a token each, whatever the merges make of them, with their ids; see `unmerged`.

    Example:
        >>> ByteMerger(["a", "b", "ab"], ["a b"])(tf.constant(["abb", "ba"])).ids.numpy().tolist()
        [2, 1, 1, 0]
    """

    def __init__(self, vocabulary: Sequence[str], merges: Sequence[str], whole: Mapping[bytes, int] | None = None):
        ids = {token: number for number, token in enumerate(vocabulary)}
        self._size = len(vocabulary)
        self._bytes = np.array([ids.get(character, GONE) for character in byte_characters()], np.int32)
        self._tables = build_tables(check_merges(merges, vocabulary), self._size)
        self._whole = sorted((whole or {}).items())
        self._constant = Constants()
        # Eagerly, a round would be dozens of calls from Python.
        self._compiled = tf.function(self._merge, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    def __call__(self, words: tf.Tensor) -> BytePieces:
        """Pieces of `words` (W,) string."""
        return self._compiled(words)

    def _merge(self, words: tf.Tensor) -> BytePieces:
        data = tf.io.decode_raw(tf.strings.reduce_join(words), tf.uint8)
        splits = splits_of(tf.strings.length(words))
        tokens = tf.gather(self._constant("bytes", self._bytes), tf.cast(data, tf.int32))
        if self._whole:
            tokens = self._keep_whole(words, tokens, splits)
        live = tf.where(tokens != GONE)[:, 0]
        owners = tf.gather(row_numbers(splits), live)
        tokens = merge_all(tokens, live, owners, self._constant.tables("merges", self._tables), self._size)
        places = tf.where(tokens != GONE)[:, 0]
        row_splits = tf.searchsorted(places, splits, out_type=tf.int64)
        return BytePieces(tf.gather(tokens, places), places, row_splits, data, splits)

    def _keep_whole(self, words: tf.Tensor, tokens: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        """The tokens of the bytes, words that are kept whole as one at their first byte."""
        known = tf.constant([word for word, _ in self._whole])
        numbers = tf.constant([number for _, number in self._whole], tf.int32)
        keys = tf.strings.to_hash_bucket_fast(known, 2**62)
        order = tf.argsort(keys)
        found = tf.searchsorted(tf.gather(keys, order), tf.strings.to_hash_bucket_fast(words, 2**62))
        place = tf.gather(order, tf.minimum(found, len(self._whole) - 1))
        kept = tf.gather(known, place) == words
        owners = row_numbers(splits)
        first = tf.range(tf.size(tokens, tf.int64)) == tf.gather(splits, owners)
        own = tf.where(first, tf.gather(tf.gather(numbers, place), owners), GONE)
        return tf.where(tf.gather(kept, owners), own, tokens)


def unmerged(vocabulary: Sequence[str], merges: Sequence[str], words: Mapping[bytes, int]) -> dict[bytes, int]:
    """Those of the words, tokens of the vocabulary, that the merges do not make."""
    texts = list(words)
    pieces = ByteMerger(vocabulary, merges)(tf.constant(texts, tf.string))
    made = pieces.ids.numpy()
    begins, ends = pieces.row_splits.numpy()[:-1], pieces.row_splits.numpy()[1:]
    return {
        text: number
        for (text, number), begin, end in zip(words.items(), begins, ends, strict=True)
        if end - begin != 1 or made[begin] != number
    }


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


def merge_all(
    tokens: tf.Tensor, live: tf.Tensor, owners: tf.Tensor, tables: MergeTables, vocabulary_size: int
) -> tf.Tensor:
    """Make all merges of some words.

    Args:
        tokens: (C,) int32, at the place of its first character each piece, elsewhere `GONE`.
        live: (L,) int64, the places of the pieces.
        owners: (L,) int64, the words that they belong to.
        tables: The merges.
        vocabulary_size: Number of tokens.

    Returns:
        (C,) int32, `tokens` with the pieces that are left.
    """
    return tf.while_loop(
        lambda tokens, live, owners: tf.size(live) > 1,
        lambda tokens, live, owners: _round(tokens, live, owners, tables, vocabulary_size),
        (tokens, live, owners),
        shape_invariants=(tf.TensorShape([None]),) * 3,
    )[0]


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
    """Return whether the pair at each place is merged before both its neighbours: (L,) bool.

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


class MergesTokenizer(Tokenizer):
    """Common base of tokenizers with a list of merges: the two files that they are stored in."""

    merges: Sequence[str]

    def files(self) -> dict[str, bytes]:
        return {"vocab.json": vocabulary_json_bytes(self.vocabulary), "merges.txt": merges_bytes(self.merges)}

    @staticmethod
    def read_files(files: Mapping[str, bytes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        vocabulary = parse_vocabulary_json(files["vocab.json"], "vocab.json")
        return vocabulary, parse_merges(files["merges.txt"], "merges.txt")


class ByteBPETokenizer(MergesTokenizer):
    """Text to token ids, with the ids and offsets of Hugging Face's fast RoBERTa tokenizer.

    The same operations run eagerly, in `tf.data` and in an exported graph; all are core TensorFlow.

    Special tokens are never read from a text, as with Hugging Face's `split_special_tokens=True`: a written
    `</s>` is cut like any other text.

    Differences from tokenizers 0.23, by choice: half a surrogate pair in a Python string becomes three
    U+FFFD, one for each of its bytes, where Hugging Face raises; a pair of tokens that is twice in the
    merges is refused; and where the vocabulary lacks one of the 256 bytes, that byte is left out as there,
    but the offsets behind it stay true.

    Args:
        vocabulary: Ids by token, 0, 1, ... without a gap, or the tokens in order (vocab.json).
        merges: "left right" each, the earliest first (merges.txt).
        add_prefix_space: Put a space before a text that does not begin with one. Defaults to False.
        trim_offsets: Leave spaces out of the offsets of the tokens that hold them. Defaults to True.
        split: How texts are split into words before: "r50k" (RoBERTa's and BART's, too), "r50k_digits" (SmolLM), "cl100k" or
            "cl100k_digits" (`byte_words`). Defaults to "r50k".
        ignore_merges: A word that is in the vocabulary is that token, whatever the merges make of it (Llama 3).
            Defaults to False.
        nfc: Compose texts first (Unicode's NFC, Qwen2); offsets are those of the composed texts. Defaults to False.
        unknown_token, pad_token, start_token, separator_token, mask_token: Special tokens as
            the vocabulary writes them. Default to RoBERTa's.
        pair_separators: Separators between the two texts of a pair. Defaults to 2, as in RoBERTa.

    Raises:
        TransformerError: a special token is missing, a token or a merge is there twice, a merge needs a token
            that the vocabulary does not hold, or an id or a setting is out of range.

    Example:
        >>> tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "h", "i", "Ġ", "hi", "Ġhi"]
        >>> tokenizer = ByteBPETokenizer(tokens, ["h i", "Ġ hi"])
        >>> tokenizer.tokenize(tf.constant(["hi hi", ""])).to_list()
        [[8, 9], []]
    """

    kind = "byte_bpe"
    settings = ("add_prefix_space", "trim_offsets", "pair_separators", "split", "ignore_merges", "nfc")

    def __init__(
        self,
        vocabulary: Mapping[str, int] | Sequence[str],
        merges: Sequence[str],
        add_prefix_space: bool = False,
        trim_offsets: bool = True,
        unknown_token: str = "<unk>",
        pad_token: str = "<pad>",
        start_token: str = "<s>",
        separator_token: str = "</s>",
        mask_token: str = "<mask>",
        pair_separators: int = 2,
        split: str = "r50k",
        ignore_merges: bool = False,
        nfc: bool = False,
    ):
        switches = {"add_prefix_space": add_prefix_space, "trim_offsets": trim_offsets}
        check_switches(**switches, ignore_merges=ignore_merges, nfc=nfc)
        special = (unknown_token, pad_token, start_token, separator_token, mask_token)
        super().__init__(check_vocabulary(vocabulary), special, pair_separators)
        self.merges = merges if isinstance(merges, str) else tuple(merges)
        self.add_prefix_space, self.trim_offsets = add_prefix_space, trim_offsets
        self.split, self.ignore_merges, self.nfc = split, ignore_merges, nfc
        self._composer = Composer() if nfc else None
        self._splitter = ByteWordSplitter(split)
        self._bytes = {character: byte for byte, character in enumerate(byte_characters())}
        self._merger = ByteMerger(self.vocabulary, self.merges, self._whole_words() if ignore_merges else None)
        self._constant = Constants()

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes seconds
    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        words = self._splitter(self._prefixed(as_texts(texts))[0])
        pieces, rows = self._pieces(words)
        return _rows(tf.gather(pieces.ids, rows.values), rows, words)

    @tf.autograph.experimental.do_not_convert
    def tokenize_with_offsets(self, texts: tf.Tensor | Sequence[str]) -> Tokens:
        texts, prefixes = self._prefixed(as_texts(texts))
        words = self._splitter(texts)
        pieces, rows = self._pieces(words)
        ids = _rows(tf.gather(pieces.ids, rows.values), rows, words)
        base = words.starts - tf.gather(words.first_characters, row_numbers(words.row_splits))
        base = tf.gather(base, row_numbers(rows.row_splits))
        begins, ends = (tf.gather(place, rows.values) + base for place in _characters(pieces))
        # A space that was put before the text has the place of the text's first character.
        text = row_numbers(ids.row_splits)
        prefix = tf.gather(prefixes, text)
        begins, ends = tf.maximum(begins - prefix, 0), tf.maximum(ends - prefix, 1)
        if self.trim_offsets:
            begins, ends = self._trim(ids, text, begins, ends)
        begins, ends = tf.cast(begins, tf.int32), tf.cast(ends, tf.int32)
        return Tokens(ids, ids.with_values(begins), ids.with_values(ends))

    def decode(self, ids: Iterable[int]) -> str:
        """The text whose tokens are `ids`: its bytes exactly; what is not UTF-8 becomes U+FFFD.

        Raises:
            TransformerError: an id is outside the vocabulary.

        Example:
            >>> tokenizer.decode([8, 9])
            'hi hi'
        """
        return b"".join(self.token_bytes(self.id_to_token(i)) for i in ids).decode("utf-8", "replace")

    def _prefixed(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The texts with the space that they may need, and the length of what was added, (B,) int64."""
        if self._composer is not None:
            texts = self._composer(texts)
        if not self.add_prefix_space:
            return texts, tf.zeros_like(texts, tf.int64)
        first = tf.strings.substr(texts, 0, 1)
        needed = (first != b" ") & (first != b"")
        return tf.where(needed, tf.strings.join([" ", texts]), texts), tf.cast(needed, tf.int64)

    def _pieces(self, words: "ByteWords") -> tuple[BytePieces, tf.RaggedTensor]:
        """The pieces of the different words, and for each word (W, None) int64 which of them are its own."""
        different, index = tf.unique(words.values, tf.int64)
        pieces = self._merger(different)
        numbers = tf.range(tf.size(pieces.ids, tf.int64))
        own = tf.RaggedTensor.from_row_splits(numbers, pieces.row_splits, validate=False)
        return pieces, tf.gather(own, index)

    def _whole_words(self) -> dict[bytes, int]:
        words = {
            self.token_bytes(token): number
            for number, token in enumerate(self.vocabulary)
            if token not in self._special.values() and all(character in self._bytes for character in token)
        }
        return unmerged(self.vocabulary, self.merges, words)

    def _trim(self, ids: tf.RaggedTensor, text: tf.Tensor, begins: tf.Tensor, ends: tf.Tensor):
        """Offsets without the spaces at both ends of the tokens; `text` is the row of each."""
        before, after = self._spaces
        before = tf.gather(self._constant("spaces_before", before), ids.values)
        after = tf.gather(self._constant("spaces_after", after), ids.values)
        if self.add_prefix_space:
            # Hugging Face takes one space at the beginning for the added one, also where the text had it.
            first = tf.range(tf.size(begins, tf.int64)) == tf.gather(ids.row_splits, text)
            before -= tf.cast((before == 1) & (first | (begins == 0)), tf.int64)
        begins = tf.minimum(begins + before, ends)
        return begins, tf.where(ends >= after, tf.maximum(ends - after, begins), ends)

    @functools.cached_property
    def _spaces(self) -> tuple[np.ndarray, np.ndarray]:
        """Spaces at the beginning and at the end of each token."""
        space = byte_characters()[BLANK]
        lengths = [(len(t), len(t.lstrip(space)), len(t.rstrip(space))) for t in self.vocabulary]
        total, left, right = np.array(lengths, np.int64).T
        return total - left, total - right

    def token_bytes(self, token: str) -> bytes:
        if all(character in self._bytes for character in token):
            return bytes(self._bytes[character] for character in token)
        return token.encode("utf-8")


def _characters(pieces: BytePieces) -> tuple[tf.Tensor, tf.Tensor]:
    """First character of each piece and the one after its last, counted in its word: two (P,) int64."""
    owners = row_numbers(pieces.row_splits)
    word, word_end = tf.gather(pieces.word_splits, owners), tf.gather(pieces.word_splits, owners + 1)
    ends = tf.minimum(tf.concat([pieces.places[1:], pieces.word_splits[-1:]], 0), word_end)
    begun = characters_begun(pieces.data)
    before = tf.gather(begun, word) - 1
    return tf.gather(begun, pieces.places) - 1 - before, tf.gather(begun, ends - 1) - before


def _rows(values: tf.Tensor, words: tf.RaggedTensor, texts: "ByteWords") -> tf.RaggedTensor:
    """Values by text, from values by word."""
    row_splits = tf.gather(words.row_splits, texts.row_splits)
    return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)
