"""BPE over the characters of whole texts, as in Llama 1 and 2 (SentencePiece's BPE), as core TensorFlow operations.

A blank is the sign U+2581, which merges may join with any other character. A character that is no token becomes its UTF-8
bytes, one token each, so that nothing is unknown.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.text.base import Tokens, as_texts, check_switches
from tftransformer.text.byte_bpe import GONE, MergesTokenizer, build_tables, merge_all
from tftransformer.text.byte_bpe_files import (
    check_merges,
    check_vocabulary,
)
from tftransformer.text.code_points import NUM_CODE_POINTS, page_table
from tftransformer.text.normalization import Constants, look_up
from tftransformer.text.ragged_ops import expansion, row_numbers

SPACE_SIGN, BLANK = 0x2581, ord(" ")
BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
# By number of UTF-8 bytes: the code points from which on there are so many, and the bits that the first byte begins with.
_FROM, _LEADS = (0x80, 0x800, 0x10000), (0x00, 0xC0, 0xE0, 0xF0)


class CharacterBPETokenizer(MergesTokenizer):
    """Text to token ids, with the ids of Hugging Face's fast Llama tokenizer.

    The same operations run eagerly, in `tf.data` and in an exported graph; all are core TensorFlow. Special tokens are never
    read from a text.

    Args:
        vocabulary: Ids by token, 0, 1, ... without a gap, or the tokens in order; the 256 bytes are among them, as `<0x0A>`.
        merges: "left right" each, the earliest first.
        add_prefix_space: Put a blank before a text. Defaults to True.
        prefix_always: Put it also before a text that begins with one, as Hugging Face's older files do. Defaults to True.
        unknown_token, pad_token, start_token, separator_token, mask_token: Special tokens as the vocabulary writes them.
            Default to Llama 2's, which pads with its end.
        pair_separators: Separators between the two texts of a pair. Defaults to 1.

    Raises:
        TransformerError: A special token or a byte is missing, a token or a merge is there twice, or a merge needs a token that
            the vocabulary does not hold.

    Example:
        >>> from tftransformer.text.character_bpe import BYTES
        >>> tokens = ["<unk>", "<s>", "</s>", *BYTES, "\u2581", "h", "i", "hi", "\u2581hi"]
        >>> tokenizer = CharacterBPETokenizer(tokens, ["h i", "\u2581 hi"])
        >>> [tokens[i] for i in tokenizer.encode("hi hi!")] == ["\u2581hi", "\u2581hi", "<0x21>"]
        True
    """

    kind = "character_bpe"
    settings = ("add_prefix_space", "prefix_always", "pair_separators")

    def __init__(
        self,
        vocabulary: Mapping[str, int] | Sequence[str],
        merges: Sequence[str],
        add_prefix_space: bool = True,
        prefix_always: bool = True,
        unknown_token: str = "<unk>",
        pad_token: str = "</s>",
        start_token: str = "<s>",
        separator_token: str = "</s>",
        mask_token: str = "</s>",
        pair_separators: int = 1,
    ):
        check_switches(add_prefix_space=add_prefix_space, prefix_always=prefix_always)
        special = (unknown_token, pad_token, start_token, separator_token, mask_token)
        super().__init__(check_vocabulary(vocabulary), special, pair_separators)
        if missing := [byte for byte in BYTES if byte not in self._ids]:
            raise TransformerError(f"vocabulary must hold the 256 bytes; {missing[0]} is missing")
        self.merges = tuple(merges)
        self.add_prefix_space, self.prefix_always = add_prefix_space, prefix_always
        known = np.full(NUM_CODE_POINTS, GONE, np.int32)
        for token, number in self._ids.items():
            if len(token) == 1:
                known[ord(token)] = number
        self._known = page_table(known)
        self._byte_ids = np.array([self._ids[byte] for byte in BYTES], np.int32)
        self._tables = build_tables(check_merges(self.merges, self.vocabulary), len(self.vocabulary))
        self._constant = Constants()
        # Eagerly, a round of merges would be dozens of calls from Python.
        self._compiled = tf.function(self._pieces, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)

    @tf.autograph.experimental.do_not_convert
    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        return self.tokenize_with_offsets(texts).ids

    @tf.autograph.experimental.do_not_convert
    def tokenize_with_offsets(self, texts: tf.Tensor | Sequence[str]) -> Tokens:
        *values, splits = self._compiled(as_texts(texts))
        return Tokens(*(tf.RaggedTensor.from_row_splits(value, splits, validate=False) for value in values))

    def decode(self, ids: Iterable[int]) -> str:
        """The text whose tokens are `ids`: its bytes exactly; what is not UTF-8 becomes U+FFFD.

        Raises:
            TransformerError: An id is outside the vocabulary.
        """
        text = b"".join(self.token_bytes(self.id_to_token(i)) for i in ids).decode("utf-8", "replace")
        return text.removeprefix(" ") if self.add_prefix_space else text

    def token_bytes(self, token: str) -> bytes:
        if len(token) == 6 and token in BYTES:
            return bytes([int(token[3:5], 16)])
        return token.replace(chr(SPACE_SIGN), " ").encode()

    def _pieces(self, texts: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """The ids of all texts (P,), the first character of each and the one after its last, and the texts' splits (B + 1,)."""
        texts, prefixes = self._prefixed(texts)
        ragged = tf.strings.unicode_decode(texts, "UTF-8", errors="replace")
        points = tf.where(ragged.values == BLANK, SPACE_SIGN, ragged.values)
        symbols, source = self._symbols(points)
        rows = row_numbers(ragged.row_splits)
        # The first symbol of each text.
        splits = tf.searchsorted(source, tf.cast(ragged.row_splits, tf.int32), out_type=tf.int64)
        tokens = merge_all(
            symbols, tf.range(tf.size(symbols, tf.int64)), tf.gather(rows, source),
            self._constant.tables("merges", self._tables), len(self.vocabulary),
        )  # fmt: skip
        places = tf.where(tokens != GONE)[:, 0]
        own = tf.gather(tf.gather(rows, source), places)
        before = tf.cast(tf.gather(ragged.row_splits[:-1] + prefixes, own), tf.int32)
        begins = tf.gather(source, places)
        last = tf.concat([places[1:], [tf.size(tokens, tf.int64)]], 0)[: tf.size(places)] - 1
        ends = tf.gather(source, last) + 1
        ids = tf.gather(tokens, places)
        row_splits = tf.searchsorted(places, splits, out_type=tf.int64)
        return ids, tf.maximum(begins - before, 0), tf.maximum(ends - before, 0), row_splits

    def _prefixed(self, texts: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The texts with the blank that they may need, and the length of what was added, (B,) int64."""
        if not self.add_prefix_space:
            return texts, tf.zeros_like(texts, tf.int64)
        needed = texts != b""
        if not self.prefix_always:
            sign = chr(SPACE_SIGN).encode()
            needed &= (tf.strings.substr(texts, 0, 1) != b" ") & (tf.strings.substr(texts, 0, len(sign)) != sign)
        return tf.where(needed, tf.strings.join([" ", texts]), texts), tf.cast(needed, tf.int64)

    def _symbols(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The tokens that merging begins with, (S,), and the character that each is of."""
        known = look_up(*self._constant.tables("known", self._known), points)
        lengths = 1 + tf.add_n([tf.cast(points >= first, tf.int32) for first in _FROM])
        source, part = expansion(tf.where(known == GONE, lengths, 1))
        point, length, own = (tf.gather(values, source) for values in (points, lengths, known))
        bits = tf.bitwise.right_shift(point, 6 * tf.maximum(length - 1 - part, 0))
        leads = tf.gather(self._constant("leads", np.array(_LEADS, np.int32)), length - 1)
        byte = tf.where(part == 0, bits | leads, (bits & 0x3F) | 0x80)
        byte = tf.gather(self._constant("bytes", self._byte_ids), tf.clip_by_value(byte, 0, 255))
        return tf.where(own == GONE, byte, own), source
