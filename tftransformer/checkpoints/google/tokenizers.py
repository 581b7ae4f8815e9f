"""Tokenizers of Google's own releases: WordPiece vocabularies and SentencePiece models."""

import re
from pathlib import Path

from tftransformer.data.tokenizers.sentencepiece_model import parse_pieces
from tftransformer.data.tokenizers.spec import TokenizerSpec
from tftransformer.data.tokenizers.vocabulary import parse_vocabulary
from tftransformer.errors import TransformerError

_LARGEST = 64 * 2**20  # bytes; a vocabulary is far smaller
_ALBERT_TOKENS = {
    "unknown_token": "<unk>",
    "pad_token": "<pad>",
    "start_token": "[CLS]",
    "separator_token": "[SEP]",
    "mask_token": "[MASK]",
}


def read_tensorflow_tokenizer(folder: Path, name: str, lowercase: bool | None = None) -> TokenizerSpec:
    """The tokenizer of a folder as Google released it.

    ALBERT's English releases hold a SentencePiece model (`30k-clean.model`), whose text is prepared as in
    Hugging Face's tokenizer; all others hold `vocab.txt`, or under a name of its own `vocab_chinese.txt`.

    Args:
        folder: The folder.
        name: What the caller called it; it may say "uncased".
        lowercase: Whether text is made lower case (and loses its accents). None: `guess_lowercase`.

    Raises:
        TransformerError: There is no such file, or more than one, or it is damaged.
    """
    path = _vocabulary_file(folder)
    data = path.read_bytes()
    if path.suffix == ".model":
        pieces = parse_pieces(data, str(path))
        lowercase = guess_lowercase(name, pieces) if lowercase is None else lowercase
        rules = dict.fromkeys(("lowercase", "strip_accents", "straighten_quotes"), lowercase)
        settings = {**rules, "pair_separators": 1, **_ALBERT_TOKENS}
        return TokenizerSpec("sentencepiece", pieces, settings, {"spiece.model": data})
    pieces = parse_vocabulary(data, str(path))
    lowercase = guess_lowercase(name, pieces) if lowercase is None else lowercase
    return TokenizerSpec(
        "wordpiece", pieces, {"lowercase": lowercase, "strip_accents": None}, {"vocab.txt": data}
    )


def guess_lowercase(name: str, vocabulary: tuple[str, ...]) -> bool:
    """Whether a vocabulary was made from lowercased text, by a release's name or else by its pieces.

    Nothing in a release says so but its name, where "uncased" or "cased" is in it. Otherwise a vocabulary
    without a single capital letter, bracketed tokens aside, is taken for one of lowercased text.

    Example:
        >>> guess_lowercase("cased_L-12_H-768_A-12", ("[UNK]", "a"))
        False
        >>> guess_lowercase("my_checkpoint", ("[UNK]", "a"))
        True
    """
    stated = re.search(r"(un)?cased", name.lower())
    if stated:
        return stated.group() == "uncased"
    return not any(piece != piece.lower() and not piece.startswith("[") for piece in vocabulary)


def _vocabulary_file(folder: Path) -> Path:
    usual = folder / "vocab.txt"
    found = [usual] if usual.is_file() else sorted((*folder.glob("*.model"), *folder.glob("vocab*.txt")))
    if len(found) != 1 or not found[0].is_file():
        names = ", ".join(path.name for path in found[:5]) or "none of them"
        raise TransformerError(f"{folder} must have a vocab.txt or one SentencePiece .model; it has {names}")
    if found[0].stat().st_size > _LARGEST:
        raise TransformerError(
            f"{found[0]} must be at most {_LARGEST} bytes; it has {found[0].stat().st_size}"
        )
    return found[0]
