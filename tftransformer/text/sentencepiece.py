"""SentencePiece's unigram tokenizer (Kudo and Richardson 2018) as ALBERT and XLM-RoBERTa use it, in TensorFlow."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tftransformer.errors import TransformerError
from tftransformer.text.base import SPECIAL_TOKENS, Tokenizer, Tokens, as_texts, check_settings
from tftransformer.text.sentencepiece_charsmap import parse_charsmap
from tftransformer.text.sentencepiece_model import PieceType, parse_model
from tftransformer.text.sentencepiece_normalization import SPACE_SIGN, SentencePieceNormalizer
from tftransformer.text.unigram import UnigramSegmenter

_SWITCHES = ("lowercase", "strip_accents", "straighten_quotes", "add_prefix_space")


class SentencePieceTokenizer(Tokenizer):
    """Text to token ids, with the ids and offsets of Hugging Face's fast ALBERT and XLM-RoBERTa tokenizers.

    The same operations run eagerly, in `tf.data` and in an exported graph; all are core TensorFlow's, so that every
    TF Serving carries them. The ids are the model's own; XLM-RoBERTa's are moved up by one against those of its file
    (`sentencepiece_model.to_fairseq`).

    What differs from Hugging Face, by choice: special tokens are never read from a text, and a written `<s>` is cut
    like any other word, while Hugging Face finds the special token even where it is told to split special tokens
    (the unknown token's name alone is read, and is unknown). User-defined pieces are pieces like any other, as they
    are where Hugging Face reads a tokenizer.json; where it has only a spiece.model, it cuts texts at them first.

    Args:
        model: The contents of a SentencePiece model file.
        lowercase: Lower-case the text. True for ALBERT.
        strip_accents: Decompose characters by compatibility and drop marks. True for ALBERT.
        straighten_quotes: Make `` and '' the straight quotation mark. True for ALBERT.
        add_prefix_space: Let each word begin with the sign for white space. Defaults to True.
        pair_separators: Separators between the texts of a pair: 1 for ALBERT, 2 (the default) for XLM-RoBERTa.
        unknown_token, pad_token, start_token, separator_token, mask_token: How the model writes the special tokens.
            Default to XLM-RoBERTa's.

    Raises:
        TransformerError: The model is damaged or of another algorithm, a special token is missing, or a setting is of
            the wrong type.

    Example:
        >>> tokenizer = SentencePieceTokenizer(open("spiece.model", "rb").read())
        >>> tokenizer.decode(tokenizer.encode("Hello  there"))
        'Hello there'
    """

    kind = "sentencepiece"

    def __init__(
        self,
        model: bytes,
        *,
        lowercase: bool = False,
        strip_accents: bool = False,
        straighten_quotes: bool = False,
        add_prefix_space: bool = True,
        pair_separators: int = 2,
        unknown_token: str = "<unk>",
        pad_token: str = "<pad>",
        start_token: str = "<s>",
        separator_token: str = "</s>",
        mask_token: str = "<mask>",
    ) -> None:
        switches = (lowercase, strip_accents, straighten_quotes, add_prefix_space)
        self._switches = dict(zip(_SWITCHES, switches, strict=True))
        for name, value in self._switches.items():
            if not isinstance(value, bool):
                raise TransformerError(f"{name} must be True or False; got {value!r}")
        if pair_separators not in (1, 2):
            raise TransformerError(f"pair_separators must be 1 or 2; got {pair_separators!r}")
        special = (unknown_token, pad_token, start_token, separator_token, mask_token)
        parsed = parse_model(model)
        super().__init__(parsed.pieces, dict(zip(SPECIAL_TOKENS, special, strict=True)), pair_separators)
        if parsed.types[self.unknown_id] != PieceType.UNKNOWN:
            unknown = parsed.pieces[parsed.types.index(PieceType.UNKNOWN)]
            raise TransformerError(f"unknown_token must be the model's, {unknown!r}; got {unknown_token!r}")
        self._model = model
        self._normalizer = SentencePieceNormalizer(parse_charsmap(parsed.charsmap), **self._switches)
        self._segment = UnigramSegmenter(parsed)

    def tokenize(self, texts: tf.Tensor | Sequence[str]) -> tf.RaggedTensor:
        return self.tokenize_with_offsets(texts).ids

    def tokenize_with_offsets(self, texts: tf.Tensor | Sequence[str]) -> Tokens:
        words, text_starts = self._normalizer(as_texts(texts))
        pieces = self._segment(words.characters.points, words.splits)
        splits = tf.gather(pieces.row_splits, words.row_splits)
        origin = tf.cast(tf.repeat(text_starts[:-1], splits[1:] - splits[:-1]), tf.int32)
        starts = tf.gather(words.characters.sources, pieces.firsts) - origin
        ends = tf.gather(words.characters.sources, pieces.lasts) + 1 - origin
        return Tokens(
            *(tf.RaggedTensor.from_row_splits(x, splits, validate=False) for x in (pieces.ids, starts, ends))
        )

    def decode(self, ids: Iterable[int]) -> str:
        """The pieces of `ids` joined, with spaces where words began.

        Raises:
            TransformerError: An id is outside the vocabulary.
        """
        text = "".join(map(self.id_to_token, ids)).replace(chr(SPACE_SIGN), " ")
        return text.removeprefix(" ") if self._switches["add_prefix_space"] else text

    def get_config(self) -> dict[str, Any]:
        """The settings, without the model: JSON values."""
        return {**self._switches, "pair_separators": self.pair_separators, **self._special}

    def files(self) -> dict[str, bytes]:
        return {"spiece.model": self._model}

    @classmethod
    def from_files(cls, settings: Mapping[str, Any], files: Mapping[str, bytes]) -> "SentencePieceTokenizer":
        check_settings(settings, (*_SWITCHES, "pair_separators", *SPECIAL_TOKENS))
        return cls(files["spiece.model"], **settings)
