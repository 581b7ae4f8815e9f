"""Base of the tokenizers: what they share, whatever algorithm cuts their texts."""

import abc
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from tftransformer.errors import TransformerError, near_miss
from tftransformer.text.spec import TokenizerSpec

if TYPE_CHECKING:
    import tensorflow as tf

SPECIAL_TOKENS = ("unknown_token", "pad_token", "start_token", "separator_token", "mask_token")


class Tokens(NamedTuple):
    """Token ids of a batch of texts, and where in the original texts they come from.

    `ids`, `starts` and `ends` are int32 (B, None) of equal row lengths. Token j of text i is
    `text[starts[i, j]:ends[i, j]]`, counted in characters (code points) of the text as it was given;
    of bytes that are not UTF-8, each replacement character counts as one.
    """

    ids: "tf.RaggedTensor"
    starts: "tf.RaggedTensor"
    ends: "tf.RaggedTensor"


class Tokenizer(abc.ABC):
    """Text to token ids and back: the part that does not depend on the algorithm.

    Subclasses cut texts (`tokenize`, `tokenize_with_offsets`), join tokens (`decode`) and say how they are
    stored (`settings`, `files`) and read again (`read_files`). The same TensorFlow operations run eagerly,
    in `tf.data` and in an exported graph.

    Args:
        vocabulary: The tokens in order of their ids.
        special: Special tokens as the vocabulary writes them, in the order of `SPECIAL_TOKENS`.
        pair_separators: Separators between the two texts of a pair: 1 in BERT, 2 in RoBERTa.

    Raises:
        TransformerError: A special token is missing in the vocabulary, or `pair_separators` is another number.
    """

    kind: ClassVar[str] = ""
    # The names of the settings beside the special tokens: arguments and attributes.
    settings: ClassVar[tuple[str, ...]] = ()
    # Whether the rows of encoders begin with the start token.
    add_start_token: bool = True

    def __init__(self, vocabulary: tuple[str, ...], special: Sequence[str], pair_separators: int = 1) -> None:
        if isinstance(pair_separators, bool) or pair_separators not in (1, 2):
            raise TransformerError(f"pair_separators must be 1 or 2; got {pair_separators!r}")
        self.vocabulary = vocabulary
        self.pair_separators = pair_separators
        self._special = dict(zip(SPECIAL_TOKENS, special, strict=True))
        self._ids = {token: i for i, token in enumerate(vocabulary)}
        missing = [token for token in dict.fromkeys(self._special.values()) if token not in self._ids]
        if missing:
            size = len(vocabulary)
            raise TransformerError(
                f"vocabulary must hold the special tokens; {', '.join(missing)} missing of {size} tokens"
            )
        self.unknown_id, self.pad_id, self.start_id, self.separator_id, self.mask_id = (
            self._ids[self._special[name]] for name in SPECIAL_TOKENS
        )

    @abc.abstractmethod
    def tokenize(self, texts: "tf.Tensor | Sequence[str]") -> "tf.RaggedTensor":
        """Token ids of each text, without special tokens.

        Args:
            texts: (B,) strings; bytes that are not UTF-8 are decoded with replacement.

        Returns:
            int32 (B, None).

        Raises:
            TransformerError: `texts` is not one-dimensional.
        """

    @abc.abstractmethod
    def tokenize_with_offsets(self, texts: "tf.Tensor | Sequence[str]") -> Tokens:
        """Token ids as `tokenize` gives them, with the place of each in its text."""

    @abc.abstractmethod
    def decode(self, ids: Iterable[int]) -> str:
        """The text of some tokens, as near to the original as they remember."""

    @abc.abstractmethod
    def token_bytes(self, token: str) -> bytes:
        """Return the bytes that a token of the vocabulary adds to a text, the space before a word included."""

    def detokenize(self, ids: Any, *, inside: bool = False) -> "tf.Tensor":
        """Texts of tokens, in TensorFlow operations; special tokens add nothing.

        Args:
            ids: Integers (..., T), a tensor or a `RaggedTensor`.
            inside: Whether they are from the middle of a text: a space before their first word is the text's then.

        Returns:
            (...) strings, UTF-8; bytes that are not become U+FFFD.

        Example:
            >>> tokenizer.detokenize(tokenizer.tokenize(["a good film"]))[0].numpy().decode()
            'a good film'
        """
        import tensorflow as tf

        special = set(self._special.values())
        table = [b"" if token in special else self.token_bytes(token) for token in self.vocabulary]
        joined = tf.strings.reduce_join(tf.gather(tf.constant(table, tf.string), ids), axis=-1)
        if self.words_begin_with_space and not inside:
            joined = tf.strings.regex_replace(joined, "^ ", "")
        return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8")

    @property
    def words_begin_with_space(self) -> bool:
        """True if the first word of a text gets a space, too, which is not part of the text."""
        return bool(getattr(self, "add_prefix_space", True))

    def get_config(self) -> dict[str, Any]:
        """The settings without vocabulary and other files: JSON values."""
        return {**{name: getattr(self, name) for name in self.settings}, **self._special}

    @abc.abstractmethod
    def files(self) -> dict[str, bytes]:
        """The files that hold the rest of the tokenizer, by name."""

    @staticmethod
    @abc.abstractmethod
    def read_files(files: Mapping[str, bytes]) -> tuple[Any, ...]:
        """The first arguments of the class, from the files that `files` gave."""

    @classmethod
    def from_files(cls, settings: Mapping[str, Any], files: Mapping[str, bytes]) -> "Tokenizer":
        """The inverse of `get_config` and `files`.

        Raises:
            TransformerError: A setting is unknown or out of range, or the files are damaged.
        """
        known = (*cls.settings, *SPECIAL_TOKENS)
        for name in settings:
            if name not in known:
                raise TransformerError(f"tokenizer setting {name!r} is not known{near_miss(name, known)}")
        return cls(*cls.read_files(files), **settings)

    def spec(self) -> TokenizerSpec:
        """The tokenizer as plain data: what a preset stores."""
        return TokenizerSpec(self.kind, self.vocabulary, self.get_config(), self.files())

    def encode(self, text: str) -> list[int]:
        """Token ids of one text, without special tokens."""
        return self.tokenize([text.encode("utf-8", "surrogatepass")]).values.numpy().tolist()

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, special tokens included."""
        return len(self.vocabulary)

    def token_to_id(self, token: str) -> int:
        """The id of a token exactly as the vocabulary writes it.

        Raises:
            TransformerError: the vocabulary does not hold it.
        """
        if token not in self._ids:
            hint = near_miss(token, self.vocabulary)
            raise TransformerError(f"token must be in the vocabulary; got {token!r}{hint}")
        return self._ids[token]

    def id_to_token(self, token_id: int) -> str:
        """The token of an id.

        Raises:
            TransformerError: the id is outside 0 ... vocabulary_size - 1.
        """
        if not 0 <= token_id < len(self.vocabulary):
            last = len(self.vocabulary) - 1
            raise TransformerError(f"token_id must be between 0 and {last}; got {token_id}")
        return self.vocabulary[token_id]


def as_texts(texts: Any) -> "tf.Tensor":
    """Texts as a string tensor (B,)."""
    import tensorflow as tf

    texts = tf.convert_to_tensor(texts, tf.string)
    if texts.shape.rank != 1:
        raise TransformerError(f"texts must have one dimension, the batch; got shape {texts.shape}")
    return texts


def check_switches(**switches: Any) -> None:
    """Raise a `TransformerError` for a switch that is neither on nor off."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise TransformerError(f"{name} must be True or False; got {value!r}")
