"""The normalizer's map in a SentencePiece model: a double-array trie of byte strings, and what each turns into.

The trie is Darts-clone's (Yata et al. 2007): a unit of 32 bits holds a label, an offset to its children, and whether
one of them is a value.
"""

import struct

import numpy as np

from tftransformer.errors import TransformerError

LONGEST_KEY = 5  # bytes: the fast tokenizers look nothing up that is longer
_MOST_NODES = 50_000  # of one level; the library's maps have some thousands


def parse_charsmap(data: bytes, source: str = "charsmap") -> dict[str, str]:
    """The rules of a compiled map whose key has at most `LONGEST_KEY` bytes: text -> text it is replaced by.

    Example:
        >>> parse_charsmap(b"")
        {}
    """
    if not data:
        return {}
    size = struct.unpack("<I", data[:4])[0] if len(data) >= 4 else -1
    if size < 4 or size % 4 or size > len(data) - 4:
        raise TransformerError(f"{source}: the normalizer's map is damaged; its trie has {size} of {len(data)} bytes")
    units = np.frombuffer(data, "<u4", size // 4, 4).astype(np.int64)
    texts = data[4 + size :]
    rules = {}
    for key, place in _keys(units, source):
        end = texts.find(b"\0", place)
        if end < 0:
            raise TransformerError(f"{source}: the normalizer's map is damaged; a replacement lies outside it")
        try:
            rules[key.decode("utf-8")] = texts[place:end].decode("utf-8")
        except UnicodeDecodeError:
            raise TransformerError(f"{source}: the normalizer's map is damaged; a rule is not UTF-8") from None
    return rules


def _keys(units: np.ndarray, source: str) -> list[tuple[bytes, int]]:
    """Every key with its value, level by level."""
    labels = units & 0x800000FF
    offsets = (units >> 10) << ((units & 0x200) >> 6)
    has_value = (units >> 8) & 1
    found: list[tuple[bytes, int]] = []
    nodes, prefixes = offsets[:1], [b""]
    alphabet = np.arange(1, 256)
    for _ in range(LONGEST_KEY):
        if len(nodes) > _MOST_NODES:
            raise TransformerError(f"{source}: the normalizer's map is damaged; its trie runs in circles")
        children = nodes[:, np.newaxis] ^ alphabet
        inside = children < len(units)
        is_child = inside & (labels[np.where(inside, children, 0)] == alphabet)
        parents, letters = np.nonzero(is_child)
        places = children[parents, letters]
        prefixes = [prefixes[p] + bytes((b + 1,)) for p, b in zip(parents.tolist(), letters.tolist(), strict=True)]
        nodes = places ^ offsets[places]
        for i in np.flatnonzero(has_value[places]).tolist():
            if nodes[i] >= len(units):
                raise TransformerError(f"{source}: the normalizer's map is damaged; its trie points outside itself")
            found.append((prefixes[i], int(units[nodes[i]] & 0x7FFFFFFF)))
    return found
