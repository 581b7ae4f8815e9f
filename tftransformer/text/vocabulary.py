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
        TransformerError: the file is missing, empty, not UTF-8 (with the line), or a token stands twice.

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
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n").count(b"\n") + 1
        raise TransformerError(f"vocabulary must be UTF-8; {source} is not, in line {line}") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    tokens = text.removesuffix("\n").split("\n")
    if not text:
        raise TransformerError(f"vocabulary must hold one token a line; {source} is empty")
    return check_tokens(tokens, source)


def check_tokens(tokens: Iterable[str], source: str = "vocabulary") -> tuple[str, ...]:
    """The tokens as a tuple, after checking that a vocabulary file can hold them.

    Example:
        >>> check_tokens(["[PAD]", "a"])
        ('[PAD]', 'a')
    """
    tokens, lines = tuple(tokens), {}
    if not tokens:
        raise TransformerError("vocabulary must hold at least one token; got none")
    for number, token in enumerate(tokens, 1):
        if not isinstance(token, str):
            raise TransformerError(f"vocabulary must hold strings; token {number} is {token!r}")
        if "\n" in token or "\r" in token:
            raise TransformerError(f"vocabulary must not hold line breaks; token {number} is {token!r}")
        if any("\ud800" <= character <= "\udfff" for character in token):
            raise TransformerError(f"vocabulary must hold text that UTF-8 can; token {number} is {token!r}")
        if lines.setdefault(token, number) != number:
            both = f"{lines[token]} and {number}"
            raise TransformerError(f"vocabulary must hold each token once; {source} has {token!r} in lines {both}")
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
