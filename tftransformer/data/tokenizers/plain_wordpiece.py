"""WordPiece for plain texts: of printable ASCII and white space, most of English, several times as fast.

BERT's normalisation does next to nothing to such a text: it lowers letters. So tensorflow-text's kernel may
find the words itself, at white space and punctuation, while it cuts them (Song et al. 2021, end to end).
Which other characters it takes for white space or punctuation is not what Hugging Face's tokenizer does;
texts that hold any take the way through normalization.py.
"""

import string
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_text
from tensorflow_text.core.pybinds import pywrap_fast_wordpiece_tokenizer_model_builder as model_builder

from tftransformer.data.tokenizers.normalization import Constants

JOINER = "##"
_PLAIN = r"[\t\n\r -~]*"


def is_plain(texts: tf.Tensor) -> tf.Tensor:
    """Which texts are plain: (B,) string -> (B,) bool.

    Example:
        >>> is_plain(tf.constant(["Good morning!", "Café"])).numpy().tolist()
        [True, False]
    """
    return tf.strings.regex_full_match(texts, _PLAIN)


class PlainWordPiece:
    """Cuts plain texts exactly as `WordPieceTokenizer` does.

    Args:
        vocabulary: The tokens in order of their ids.
        unknown_token: The one that stands for unknown words.
        absent: A character that no token holds.
        lowercase: Lower-case the text.
        max_word_characters: Longer words are unknown.

    Example:
        >>> pieces = PlainWordPiece(["[UNK]", "un", "##do", "!"], "[UNK]", "\\ue000", True, 100)
        >>> pieces(tf.constant(["Undo!", ""])).to_list()
        [[1, 2, 3], []]
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        unknown_token: str,
        absent: str,
        lowercase: bool,
        max_word_characters: int,
    ) -> None:
        self._lowercase = lowercase
        tokens = [
            token
            if token == unknown_token or _can_match(token, lowercase, max_word_characters)
            else f"{absent}{number}"
            for number, token in enumerate(vocabulary)
        ]
        self._model = build_automaton(tokens, unknown_token, max_word_characters, whole_words=False)
        self._constant = Constants()

    def __call__(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Token ids of plain texts: (B,) string -> int32 (B, None)."""
        model = self._constant("plain_wordpiece_model", self._model)
        kernel = tensorflow_text.FastWordpieceTokenizer(model_buffer=model, token_out_type=tf.int32)
        return kernel.tokenize(tf.strings.lower(texts) if self._lowercase else texts)


def build_automaton(
    tokens: Sequence[str], unknown_token: str, max_word_bytes: int, *, whole_words: bool
) -> np.ndarray:
    """The kernel's automaton, as bytes.

    Args:
        tokens: In order of their ids.
        unknown_token: The one that stands for unknown words.
        max_word_bytes: Longer words are unknown.
        whole_words: The kernel is given words; otherwise it finds them.

    Raises:
        RuntimeError: tensorflow-text cannot compile the tokens.
    """
    data = model_builder.build_fast_wordpiece_model(
        list(tokens), max_word_bytes, JOINER, unknown_token, whole_words, False
    )
    return np.frombuffer(data, np.uint8)


def _can_match(token: str, lowercase: bool, max_word_characters: int) -> bool:
    """Whether a word of a plain text can hold the token: letters and digits, or one punctuation mark alone.

    Others must not reach a kernel that finds words by itself: it might match them across two words.
    """
    body = token.removeprefix(JOINER)
    if not body.isascii() or (lowercase and body != body.lower()):
        return False
    if body.isalnum():
        return len(body) <= max_word_characters
    return len(token) == 1 and token in string.punctuation
