"""WordPiece (Schuster and Nakajima 2012) as in BERT (Devlin et al. 2018), as TensorFlow operations.

Words come from normalization.py; each is cut greedily into its longest pieces by tensorflow-text's
linear-time kernel (Song et al. 2021).

Plain texts, of printable ASCII and white space, are most of English and cut several times as fast: BERT's
normalisation does next to nothing to them, it lowers letters. So the kernel may find their words itself, at white
space and punctuation, while it cuts them (Song et al. 2021, end to end). Which other characters it takes for white
space or punctuation is not what Hugging Face's tokenizer does; texts with any of them go through normalization.py.
"""

import functools
import os
import string
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text
from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as model_builder

from tftransformer.errors import TransformerError, check_whole
from tftransformer.text.base import Tokenizer, Tokens, as_texts, check_switches
from tftransformer.text.normalization import Constants, Words, WordSplitter
from tftransformer.text.ragged_ops import characters_begun, row_numbers, splits_of
from tftransformer.text.vocabulary import check_tokens, parse_vocabulary, read_vocabulary, vocabulary_bytes

JOINER = "##"
_PLAIN = r"[\t\n\r -~]*"


class WordPieceTokenizer(Tokenizer):
    """Text to token ids, with the ids and offsets of Hugging Face's fast BERT tokenizer.

    The same operations run eagerly, in `tf.data` and in an exported graph; they need tensorflow-text's
    `FastWordpieceTokenizeWithOffsets` (in TF Serving since 2.7) and otherwise core TensorFlow only.

    Special tokens are never read from a text: a written `[SEP]` is the three words `[`, `sep`, `]`, as
    with Hugging Face's `split_special_tokens=True`.

    Measured against tokenizers 0.23: no difference in 2,224,128 texts (every code point alone and between
    letters), cased and uncased, nor in 4.8 million random texts of marks, controls and bytes that are not
    UTF-8; nor in the places of tokens in 320,000 texts of that kind, accents kept and stripped. What
    differs is by choice: half a surrogate pair in a Python string is dropped where Hugging Face raises, and
    a vocabulary with a token twice is refused, as is a token of more than 256 bytes that a word could match.

    Args:
        vocabulary: The tokens in order of their ids, or the path of a vocab.txt.
        lowercase: Lower-case the text. Defaults to True, as for BERT's uncased checkpoints.
        strip_accents: Drop accents. None (the default) does what `lowercase` does, as BERT does.
        split_on_cjk: Make each CJK ideograph a word. Defaults to True, as for all BERT checkpoints.
        max_word_characters: Longer words are unknown. Defaults to 100 characters, as in BERT.
        unknown_token, pad_token, start_token, separator_token, mask_token: Special tokens as
            the vocabulary writes them. Default to BERT's.

    Raises:
        TransformerError: a special token is missing, a token is there twice, or a number is out of range.

    Example:
        >>> tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##do"])
        >>> tokenizer.tokenize(tf.constant(["Undo!", ""])).to_list()
        [[5, 6, 1], []]
    """

    kind = "wordpiece"
    settings = ("lowercase", "strip_accents", "split_on_cjk", "max_word_characters")

    def __init__(
        self,
        vocabulary: Sequence[str] | str | os.PathLike,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_on_cjk: bool = True,
        max_word_characters: int = 100,
        unknown_token: str = "[UNK]",
        pad_token: str = "[PAD]",
        start_token: str = "[CLS]",
        separator_token: str = "[SEP]",
        mask_token: str = "[MASK]",
    ):
        check_switches(lowercase=lowercase, split_on_cjk=split_on_cjk)
        if strip_accents is not None and not isinstance(strip_accents, bool):
            raise TransformerError(f"strip_accents must be True, False or None; got {strip_accents!r}")
        check_whole("max_word_characters", max_word_characters)
        special = (unknown_token, pad_token, start_token, separator_token, mask_token)
        is_path = isinstance(vocabulary, (str, os.PathLike))
        super().__init__(read_vocabulary(vocabulary) if is_path else check_tokens(vocabulary), special)
        self.lowercase, self.strip_accents, self.split_on_cjk = lowercase, strip_accents, split_on_cjk
        self.max_word_characters = max_word_characters
        self._splitter = WordSplitter(lowercase, strip_accents, split_on_cjk)
        self._absent = _absent_character(self.vocabulary)
        self._model = self._automaton(self._can_match, 4 * max_word_characters, whole_words=True)
        self._constant = Constants()

    @tf.autograph.experimental.do_not_convert  # nothing to convert, and looking for it takes time
    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        texts = as_texts(texts)
        plain = is_plain(texts)
        values, row_splits = tf.cond(
            tf.reduce_all(plain), lambda: _parts(self._plain(texts)), lambda: _parts(self._tokenize_mixed(texts, plain))
        )
        return tf.RaggedTensor.from_row_splits(values, row_splits, validate=False)

    @functools.cached_property
    def _plain_model(self) -> np.ndarray:
        return self._automaton(self._can_match_plain, self.max_word_characters, whole_words=False)

    def _plain(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of plain texts: (B,) string -> int32 (B, None)."""
        kernel = self._kernel("plain_wordpiece_model", self._plain_model)
        return kernel.tokenize(tf.strings.lower(texts) if self.lowercase else texts)

    def _tokenize_mixed(self, texts: tf.Tensor, plain: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of texts (B,) of which some are plain (B,), each by its own way."""
        words = self._splitter(tf.boolean_mask(texts, ~plain))
        pieces = self._kernel("wordpiece_model", self._model).tokenize(self._values(words))
        others = tf.RaggedTensor.from_row_splits(
            pieces.values, tf.gather(pieces.row_splits, words.row_splits), validate=False
        )
        rows = tf.concat([self._plain(tf.boolean_mask(texts, plain)), others], axis=0)
        order = tf.concat([tf.where(plain), tf.where(~plain)], axis=0)[:, 0]
        return tf.gather(rows, tf.argsort(order))

    @tf.autograph.experimental.do_not_convert
    def tokenize_with_offsets(self, texts: tf.Tensor | Sequence[str]) -> Tokens:
        words, letters, texts_begin = self._splitter.with_sources(as_texts(texts))
        kernel = self._kernel("wordpiece_model", self._model)
        pieces, starts, ends = kernel.tokenize_with_offsets(self._values(words))
        word = row_numbers(pieces.row_splits)
        bytes_before = splits_of(tf.strings.length(words.values))
        # A word that is too long is one token, and the kernel did not see it.
        too_long = tf.gather(words.lengths > self.max_word_characters, word)
        starts = starts.values + tf.gather(bytes_before, word)
        ends = tf.where(too_long, tf.gather(bytes_before, word + 1), ends.values + tf.gather(bytes_before, word))
        begun = characters_begun(tf.io.decode_raw(tf.strings.reduce_join(words.values), tf.uint8))
        first, last = tf.gather(begun, starts) - 1, tf.gather(begun, ends - 1) - 1
        row_splits = tf.gather(pieces.row_splits, words.row_splits)
        ids = tf.RaggedTensor.from_row_splits(pieces.values, row_splits, validate=False)
        text = tf.gather(texts_begin, row_numbers(row_splits))
        starts = tf.gather(letters, first) - text
        ends = tf.gather(letters, last) + 1 - text
        return Tokens(ids, *(ids.with_values(tf.cast(place, tf.int32)) for place in (starts, ends)))

    def _values(self, words: Words) -> tf.Tensor:
        """Return the words as the kernel gets them: one that is too long becomes one that no vocabulary holds."""
        return tf.where(words.lengths > self.max_word_characters, self._absent, words.values)

    def _kernel(self, name: str, model: np.ndarray) -> tensorflow_text.FastWordpieceTokenizer:
        return tensorflow_text.FastWordpieceTokenizer(model_buffer=self._constant(name, model), token_out_type=tf.int32)

    def decode(self, ids: Iterable[int]) -> str:
        """The tokens of `ids` with continuations joined on and a space between words.

        This is readable, not the original: case, accents and spacing are gone.

        Raises:
            TransformerError: an id is outside the vocabulary.

        Example:
            >>> tokenizer.decode([5, 6, 1])
            'undo [UNK]'
        """
        text = ""
        for token in map(self.id_to_token, ids):
            if text and token.startswith(JOINER):
                text += token.removeprefix(JOINER)
            else:
                text += f" {token}" if text else token
        return text

    def token_bytes(self, token: str) -> bytes:
        return (token.removeprefix(JOINER) if token.startswith(JOINER) else f" {token}").encode()

    def files(self) -> dict[str, bytes]:
        return {"vocab.txt": vocabulary_bytes(self.vocabulary)}

    @staticmethod
    def read_files(files: Mapping[str, bytes]) -> tuple[tuple[str, ...]]:
        return (parse_vocabulary(files["vocab.txt"], "vocab.txt"),)

    def _automaton(self, can_match: Callable[[str], bool], max_word_bytes: int, *, whole_words: bool) -> np.ndarray:
        """The kernel's automaton, as bytes, without the tokens that no word can match."""
        unknown = self._special["unknown_token"]
        tokens = [
            token if token == unknown or can_match(token) else f"{self._absent}{number}"
            for number, token in enumerate(self.vocabulary)
        ]
        return _compiled(tuple(tokens), max_word_bytes, unknown, whole_words)

    def _can_match(self, token: str) -> bool:
        """Return whether the kernel has to know the token; it rejects some that no word can match."""
        body = token.removeprefix(JOINER)
        return 0 < len(body) <= self.max_word_characters and "\0" not in body

    def _can_match_plain(self, token: str) -> bool:
        """Return whether a word of a plain text can hold the token: letters and digits, or one punctuation mark alone.

        Others must not get to a kernel that finds words by itself: it might match them across two words.
        """
        body = token.removeprefix(JOINER)
        if not body.isascii() or (self.lowercase and body != body.lower()):
            return False
        if body.isalnum():
            return len(body) <= self.max_word_characters
        return len(token) == 1 and token in string.punctuation


@functools.lru_cache(maxsize=8)  # the models of folds, trials and teachers share one vocabulary, and it takes a while
def _compiled(tokens: tuple[str, ...], max_word_bytes: int, unknown: str, whole_words: bool) -> np.ndarray:
    """The automaton of the kernel, as bytes (read-only)."""
    try:
        data = model_builder.build_fast_wordpiece_model(
            list(tokens), max_word_bytes, JOINER, unknown, whole_words, False
        )
    except RuntimeError as error:
        raise TransformerError(f"vocabulary cannot be compiled: {' '.join(str(error).split())}") from None
    return np.frombuffer(data, np.uint8)


def _parts(tokens: tf.RaggedTensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tokens.values, tokens.row_splits


def _absent_character(vocabulary: Iterable[str]) -> str:
    """A character that no token holds, so that a word made of it is unknown."""
    used = set("".join(vocabulary))
    return next(c for c in map(chr, range(0xE000, 0xF900)) if c not in used)


def is_plain(texts: tf.Tensor) -> tf.Tensor:
    """Return which texts are plain: (B,) string -> (B,) bool.

    Example:
        >>> is_plain(tf.constant(["Good morning!", "Café"])).numpy().tolist()
        [True, False]
    """
    return tf.strings.regex_full_match(texts, _PLAIN)
