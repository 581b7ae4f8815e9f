"""Tokens that start a word, by the vocabulary alone, for each kind of tokenizer."""

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.text.spec import TokenizerSpec

# How a vocabulary of each kind marks tokens: WordPiece those that go on a word, the others those that start one.
CONTINUES = {"wordpiece": "##"}
STARTS = {"byte_bpe": "Ġ", "character_bpe": "▁", "sentencepiece": "▁"}


def word_starts(spec: TokenizerSpec) -> np.ndarray:
    """(V,) booleans: the token starts a word. Special tokens do.

    Raises:
        TransformerError: The kind of tokenizer marks no words.

    Example:
        >>> spec = TokenizerSpec("wordpiece", ("[PAD]", "do", "##ing"), {}, {})
        >>> word_starts(spec).tolist()
        [True, True, False]
    """
    if spec.kind in CONTINUES:
        return np.array([not token.startswith(CONTINUES[spec.kind]) for token in spec.vocabulary])
    if spec.kind in STARTS:
        special = set(special_tokens(spec))
        mark = STARTS[spec.kind]
        return np.array([token.startswith(mark) or token in special for token in spec.vocabulary])
    known = ", ".join((*CONTINUES, *STARTS))
    raise TransformerError(f"tokenizer kind must be one of {known} to know words; got {spec.kind!r}")


def special_tokens(spec: TokenizerSpec) -> tuple[str, ...]:
    """Return the special tokens as the vocabulary writes them: unknown, padding, start, separator, mask."""
    from tftransformer.text.base import SPECIAL_TOKENS

    missing = [name for name in SPECIAL_TOKENS if name not in spec.settings]
    if missing:
        raise TransformerError(f"tokenizer settings must name {', '.join(missing)}; they do not")
    return tuple(spec.settings[name] for name in SPECIAL_TOKENS)


def special_ids(spec: TokenizerSpec) -> tuple[int, int, int, int, int]:
    """Ids of the unknown, padding, start, separator and mask tokens."""
    ids = {token: i for i, token in enumerate(spec.vocabulary)}
    tokens = special_tokens(spec)
    missing = [token for token in tokens if token not in ids]
    if missing:
        raise TransformerError(f"vocabulary must hold the special tokens; {', '.join(missing)} missing")
    return tuple(ids[token] for token in tokens)
