"""Vocabulary files: one token a line, UTF-8, the line number (from 0) is the id (BERT's vocab.txt)."""

import os
from collections.abc import Iterable
from pathlib import Path

from tftransformer.errors import TransformerError
from tftransformer.files import disk_errors, write_bytes


def read_vocabulary(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads a vocabulary file; nothing but the line break is taken off a token.

    Args:
        path: The file. `\\n`, `\\r\\n` and `\\r` end a line.

    Returns:
        The tokens in order of their ids.

    Raises:
        TransformerError: the file is missing, empty, not UTF-8 (with the line), or a token is there twice.

    Example:
        >>> read_vocabulary("vocab.txt")[:2]
        ('[PAD]', '[UNK]')
    """
    path = Path(path)
    if not path.is_file():
        raise TransformerError(f"vocabulary must be a file that exists; got {path}")
    return parse_vocabulary(path.read_bytes(), str(path))


def parse_vocabulary(data: bytes, source: str) -> tuple[str, ...]:
    """The tokens that the contents of a vocabulary file hold; `source` names it in messages.

    Example:
        >>> parse_vocabulary(b"[PAD]\\na\\n", "vocab.txt")
        ('[PAD]', 'a')
    """
    text = decode_file(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n"), source)
    if not text:
        raise TransformerError(f"vocabulary must hold one token a line; {source} is empty")
    return check_tokens(text.removesuffix("\n").split("\n"), source)


def decode_file(data: bytes, source: str) -> str:
    """The text of a tokenizer's file; `source` names it in messages."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise TransformerError(f"tokenizer files must be UTF-8; {source} is not, in line {line}") from None


def check_tokens(tokens: Iterable[str], source: str = "vocabulary", *, lines: bool = True) -> tuple[str, ...]:
    """The tokens as a tuple, after checking them.

    Args:
        tokens: The tokens in order of their ids.
        source: Name of their source in messages.
        lines: Whether a file of one token a line, counted from 1, is to hold them.

    Example:
        >>> check_tokens(["[PAD]", "a"])
        ('[PAD]', 'a')
    """
    tokens, numbers = tuple(tokens), {}
    if not tokens:
        raise TransformerError(f"vocabulary must hold at least one token; {source} holds none")
    for number, token in enumerate(tokens, int(lines)):
        rule = None
        if not isinstance(token, str):
            rule = "hold strings"
        elif lines and ("\n" in token or "\r" in token):
            rule = "not hold line breaks"
        elif any("\ud800" <= character <= "\udfff" for character in token):
            rule = "hold text that UTF-8 can"
        if rule is not None:
            raise TransformerError(f"vocabulary must {rule}; in {source}, token {number} is {token!r}")
        if numbers.setdefault(token, number) != number:
            both = f"{'in lines' if lines else 'as ids'} {numbers[token]} and {number}"
            raise TransformerError(f"vocabulary must hold each token once; {source} has {token!r} {both}")
    return tokens


def write_vocabulary(tokens: Iterable[str], folder: str | os.PathLike) -> Path:
    """Writes `folder/vocab.txt` (the folder is made), such that `read_vocabulary` gives the tokens back.

    Raises:
        TransformerError: as `check_tokens`.

    Example:
        >>> write_vocabulary(["[PAD]", "a"], "my_preset").name
        'vocab.txt'
    """
    data = vocabulary_bytes(tokens)
    path = Path(folder) / "vocab.txt"
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    return write_bytes(path, data)


def vocabulary_bytes(tokens: Iterable[str]) -> bytes:
    """The contents of a vocabulary file, such that `parse_vocabulary` gives the tokens back."""
    return "".join(token + "\n" for token in check_tokens(tokens)).encode("utf-8")
