"""The two files of a byte-level BPE tokenizer (GPT-2's, RoBERTa's), and the characters they write bytes with.

vocab.json maps tokens to ids; merges.txt holds one merge a line, "left right", the earliest first.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from tftransformer.errors import TransformerError, near_miss
from tftransformer.text.vocabulary import check_tokens, decode_file

VERSION_LINE = "#version: 0.2"


def byte_characters() -> tuple[str, ...]:
    """The character that stands for each of the 256 bytes in vocabularies and merges.

    Printable bytes stand for themselves in Latin-1; the others, the space among them, are numbered from
    U+0100 on, so that no token holds a space or a control character.

    Example:
        >>> byte_characters()[0x61], byte_characters()[0x20]
        ('a', 'Ġ')
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return tuple(chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256))


def parse_vocabulary_json(data: bytes, source: str) -> tuple[str, ...]:
    """The tokens that the contents of a vocab.json hold, in order of their ids.

    Args:
        data: A JSON object from token to id; the ids are 0, 1, ... without a gap, in any order.
        source: Name of the file in messages.

    Example:
        >>> parse_vocabulary_json(b'{"b": 1, "a": 0}', "vocab.json")
        ('a', 'b')
    """
    text = decode_file(data, source)
    try:
        pairs = json.loads(text, object_pairs_hook=tuple)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} in line {error.lineno}" if isinstance(error, json.JSONDecodeError) else error
        raise TransformerError(f"vocabulary must be JSON; {source} is not: {reason}") from None
    if not isinstance(pairs, tuple):
        kind = type(pairs).__name__
        raise TransformerError(f"vocabulary must map tokens to ids; {source} holds a {kind}")
    ids = dict(pairs)
    if len(ids) < len(pairs):
        twice, _ = Counter(token for token, _ in pairs).most_common(1)[0]
        raise TransformerError(f"vocabulary must hold each token once; {source} has {twice!r} twice")
    return check_vocabulary(ids, source)


def check_vocabulary(vocabulary: Mapping[str, int] | Sequence[str], source: str = "vocabulary") -> tuple[str, ...]:
    """The tokens in order of their ids, after checking them.

    Example:
        >>> check_vocabulary({"b": 1, "a": 0})
        ('a', 'b')
    """
    tokens = _in_order(vocabulary, source) if isinstance(vocabulary, Mapping) else vocabulary
    return check_tokens(tokens, source, lines=False)


def vocabulary_json_bytes(tokens: Iterable[str]) -> bytes:
    """The contents of a vocab.json, such that `parse_vocabulary_json` gives the tokens back.

    Example:
        >>> vocabulary_json_bytes(["a", "Ġ"])
        b'{"a": 0, "\\xc4\\xa0": 1}'
    """
    ids = {token: number for number, token in enumerate(check_vocabulary(tuple(tokens)))}
    return json.dumps(ids, ensure_ascii=False).encode("utf-8")


def parse_merges(data: bytes, source: str) -> tuple[str, ...]:
    """The merges that the contents of a merges.txt hold, each as "left right".

    Lines that begin with "#version" are no merges.

    Example:
        >>> parse_merges(b"#version: 0.2\\nl o\\nlo w\\n", "merges.txt")
        ('l o', 'lo w')
    """
    lines = decode_file(data, source).replace("\r\n", "\n").removesuffix("\n").split("\n")
    merges = []
    for number, line in enumerate(lines, 1):
        if line.startswith("#version") or lines == [""]:
            continue
        if not _is_pair(line):
            raise TransformerError(f"merges must hold two parts a line; line {number} of {source} is {line[:80]!r}")
        merges.append(line)
    return tuple(merges)


def merges_bytes(merges: Iterable[str]) -> bytes:
    """The contents of a merges.txt, such that `parse_merges` gives the merges back.

    Example:
        >>> merges_bytes(["l o", "lo w"])
        b'#version: 0.2\\nl o\\nlo w\\n'
    """
    return "".join(line + "\n" for line in (VERSION_LINE, *merges)).encode("utf-8")


def check_merges(merges: Sequence[str], vocabulary: Sequence[str]) -> list[tuple[int, int, int]]:
    """The ids of the left part, the right part and the result of each merge.

    Example:
        >>> check_merges(["a b"], ["a", "b", "ab"])
        [(0, 1, 2)]
    """
    if isinstance(merges, str):
        raise TransformerError(f"merges must be a sequence of strings; got {merges[:80]!r}")
    ids = {token: number for number, token in enumerate(vocabulary)}
    out, numbers = [], {}
    for number, merge in enumerate(merges, 1):
        if not isinstance(merge, str) or not _is_pair(merge):
            raise TransformerError(f"merges must hold 'left right'; merge {number} is {merge!r}")
        left, right = merge.split(" ")
        for token in (left, right, left + right):
            if token not in ids:
                hint = near_miss(token, vocabulary)
                raise TransformerError(
                    f"merges must use tokens of the vocabulary; merge {number}, {merge!r}, needs {token!r}{hint}"
                )
        if numbers.setdefault(merge, number) != number:
            raise TransformerError(
                f"merges must hold each pair once; {merge!r} is number {numbers[merge]} and {number}"
            )
        out.append((ids[left], ids[right], ids[left + right]))
    return out


def _in_order(ids: Mapping[str, int], source: str) -> tuple[str, ...]:
    tokens: list[str | None] = [None] * len(ids)
    last = len(ids) - 1
    for token, number in ids.items():
        if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= last:
            raise TransformerError(
                f"vocabulary ids must be 0 to {last}, one for each token; {source} gives {token!r} {number!r}"
            )
        if tokens[number] is not None:
            raise TransformerError(
                f"vocabulary ids must differ; {source} gives {number} to {tokens[number]!r} and {token!r}"
            )
        tokens[number] = token
    return tuple(tokens)


def _is_pair(line: str) -> bool:
    left, space, right = line.partition(" ")
    return bool(left and right) and " " not in right
