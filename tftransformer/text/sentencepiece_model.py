"""SentencePiece's model file, a protocol buffer, in plain Python: what a unigram tokenizer needs of it.

The fields are those of `sentencepiece_model.proto` (Kudo and Richardson 2018). One is added in the range that the
format leaves to extensions: a score that 32 bits cannot hold is there once more, in 64.
"""

import dataclasses
import enum
import math
import struct
from collections.abc import Iterator, Mapping

import numpy as np

from tftransformer.errors import TransformerError

_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3  # of the model
_PIECE, _SCORE, _TYPE, _EXACT_SCORE = 1, 2, 3, 200  # of a piece
_MODEL_TYPE, _VOCABULARY_SIZE, _BYTE_FALLBACK = 3, 4, 35  # of the trainer's specification
_IDS = {40: "unknown", 41: "start", 42: "separator", 43: "pad"}
_NAME, _CHARSMAP = 1, 2  # of the normalizer's
_UNIGRAM = 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class PieceType(enum.IntEnum):
    """Types of pieces, with the format's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclasses.dataclass(frozen=True)
class UnigramModel:
    """The pieces of a unigram model in order of their ids, and the map of its normalizer.

    Args:
        pieces: The tokens.
        scores: Their log probabilities, as 64-bit floats.
        types: Types of the pieces.
        charsmap: The normalizer's compiled map ("precompiled_charsmap"); empty where it maps nothing.
    """

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    types: tuple[PieceType, ...]
    charsmap: bytes = b""


def parse_pieces(data: bytes, source: str = "spiece.model") -> tuple[str, ...]:
    """The pieces of a model file in order of their ids."""
    return parse_model(data, source).pieces


def parse_model(data: bytes, source: str = "spiece.model") -> UnigramModel:
    """A model from the contents of its file; `source` names it in messages.

    Example:
        >>> types = (PieceType.UNKNOWN, PieceType.NORMAL)
        >>> parse_model(model_bytes(UnigramModel(("<unk>", "a"), (0.0, -1.5), types))).scores
        (0.0, -1.5)
    """
    if not data:
        raise TransformerError(f"{source} must be a SentencePiece model; it is empty")
    pieces, charsmap = [], b""
    for field, value in _fields(data, source):
        if field == _PIECES:
            pieces.append(_parse_piece(_expect(value, bytes, source), len(pieces), source))
        elif field == _TRAINER:
            _check_trainer(_expect(value, bytes, source), source)
        elif field == _NORMALIZER:
            for inner, part in _fields(_expect(value, bytes, source), source):
                if inner == _CHARSMAP:
                    charsmap = _expect(part, bytes, source)
    if not pieces:
        raise TransformerError(f"{source} must be a SentencePiece model; it holds no pieces")
    texts, scores, types = zip(*pieces, strict=True)
    return check_model(UnigramModel(texts, scores, types, charsmap), source)


def check_model(model: UnigramModel, source: str = "model") -> UnigramModel:
    """The model itself, after checking what every unigram model must satisfy."""
    seen: dict[str, int] = {}
    for index, (piece, score) in enumerate(zip(model.pieces, model.scores, strict=True)):
        if not piece:
            raise TransformerError(f"{source}: a piece must hold text; piece {index} is empty")
        if seen.setdefault(piece, index) != index:
            raise TransformerError(
                f"{source} must hold each piece once; pieces {seen[piece]} and {index} are {piece!r}"
            )
        if not math.isfinite(score):
            raise TransformerError(f"{source}: scores must be finite; piece {index} has {score}")
    unknown = model.types.count(PieceType.UNKNOWN)
    if unknown != 1:
        raise TransformerError(f"{source} must hold one unknown piece; it holds {unknown}")
    return model


def model_bytes(model: UnigramModel) -> bytes:
    """The contents of a model file, which `parse_model` and the SentencePiece library read."""
    parts = []
    for piece, score, kind in zip(model.pieces, model.scores, model.types, strict=True):
        body = _chunk(_PIECE, piece.encode("utf-8")) + _tag(_SCORE, _FIXED32) + struct.pack("<f", score)
        if kind != PieceType.NORMAL:
            body += _number(_TYPE, kind)
        if struct.unpack("<f", struct.pack("<f", score))[0] != score:
            body += _tag(_EXACT_SCORE, _FIXED64) + struct.pack("<d", score)
        parts.append(_chunk(_PIECES, body))
    trainer = _number(_MODEL_TYPE, _UNIGRAM) + _number(_VOCABULARY_SIZE, len(model.pieces))
    unknown = model.types.index(PieceType.UNKNOWN)
    for field, name in _IDS.items():
        trainer += _number(field, unknown if name == "unknown" else -1)
    parts.append(_chunk(_TRAINER, trainer))
    normalizer = _chunk(_NAME, b"stored" if model.charsmap else b"identity") + _chunk(_CHARSMAP, model.charsmap)
    parts.append(_chunk(_NORMALIZER, normalizer))
    return b"".join(parts)


def to_fairseq(model: UnigramModel, special: Mapping[str, str], source: str = "model") -> UnigramModel:
    """The model with the ids of XLM-RoBERTa, whose training code put its own special tokens in front.

    The file's first three pieces are special tokens (<unk>, <s>, </s>); here four take their place, and the mask
    is the last token. All others move up by one.

    Args:
        model: Model as its file holds it.
        special: The special tokens by role: "unknown_token", "pad_token", "start_token", "separator_token", "mask_token".
        source: Name of the model in messages.
    """
    head = {PieceType.UNKNOWN, PieceType.CONTROL}
    if len(model.pieces) < 3 or not head.issuperset(model.types[:3]):
        raise TransformerError(
            f"{source} must begin with three special tokens, as XLM-RoBERTa's does; it begins with "
            f"{', '.join(model.pieces[:3])}"
        )
    control = PieceType.CONTROL
    first = [special[role] for role in ("start_token", "pad_token", "separator_token", "unknown_token")]
    moved = UnigramModel(
        (*first, *model.pieces[3:], special["mask_token"]),
        (0.0, 0.0, 0.0, 0.0, *model.scores[3:], 0.0),
        (control, control, control, PieceType.UNKNOWN, *model.types[3:], control),
        model.charsmap,
    )
    return check_model(moved, source)


def from_fairseq(model: UnigramModel) -> UnigramModel | None:
    """The inverse of `to_fairseq`; None for a model that does not have XLM-RoBERTa's order."""
    control, unknown = PieceType.CONTROL, PieceType.UNKNOWN
    if model.types[:4] != (control, control, control, unknown) or model.types[-1] != control:
        return None
    start, _, separator, unknown_piece = model.pieces[:4]
    return UnigramModel(
        (unknown_piece, start, separator, *model.pieces[4:-1]),
        (0.0, 0.0, 0.0, *model.scores[4:-1]),
        (unknown, control, control, *model.types[4:-1]),
        model.charsmap,
    )


def _parse_piece(data: bytes, index: int, source: str) -> tuple[str, float, PieceType]:
    text, score, exact, kind = b"", 0.0, None, PieceType.NORMAL
    for field, value in _fields(data, source):
        if field == _PIECE:
            text = _expect(value, bytes, source)
        elif field == _SCORE:
            score = _expect(value, float, source)
        elif field == _EXACT_SCORE:
            exact = _expect(value, float, source)
        elif field == _TYPE:
            if value not in PieceType.__members__.values():
                raise TransformerError(f"{source} is damaged: piece {index} is of type {value!r}")
            kind = PieceType(value)
    try:
        return text.decode("utf-8"), score if exact is None else exact, kind
    except UnicodeDecodeError:
        raise TransformerError(f"{source} is damaged: piece {index} is not UTF-8") from None


def _check_trainer(data: bytes, source: str) -> None:
    for field, value in _fields(data, source):
        if field == _MODEL_TYPE and value != _UNIGRAM:
            names = {2: "BPE", 3: "word", 4: "char"}
            raise TransformerError(f"{source} must be a unigram model; got {names.get(value, value)}")
        if field == _BYTE_FALLBACK and value:
            raise TransformerError(f"{source} must not fall back to bytes, which neither ALBERT nor XLM-R does")


def _fields(data: bytes, source: str) -> Iterator[tuple[int, int | float | bytes]]:
    """The fields of one message; a length is believed only as far as there are data."""
    place, end = 0, len(data)
    while place < end:
        tag, place = _read_varint(data, place, source)
        field, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, place = _read_varint(data, place, source)
            yield field, value
            continue
        if wire == _BYTES:
            length, place = _read_varint(data, place, source)
        else:
            length = {_FIXED64: 8, _FIXED32: 4}.get(wire, -1)
        if field == 0 or length < 0:
            raise TransformerError(f"{source} is damaged: no SentencePiece model has a field like that at byte {place}")
        if length > end - place:
            raise TransformerError(f"{source} is cut short or damaged: {length} bytes announced, {end - place} left")
        body = data[place : place + length]
        place += length
        yield field, body if wire == _BYTES else struct.unpack("<d" if length == 8 else "<f", body)[0]


def _read_varint(data: bytes, place: int, source: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise TransformerError(f"{source} is cut short: it ends within a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise TransformerError(f"{source} is damaged: a number of more than 64 bits ends at byte {place}")


def _expect(value: int | float | bytes, kind: type, source: str) -> bytes | float:
    if not isinstance(value, kind):
        raise TransformerError(f"{source} is damaged: a field is {type(value).__name__}, not {kind.__name__}")
    return value


def _tag(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _number(field: int, value: int) -> bytes:
    return _tag(field, _VARINT) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _chunk(field: int, body: bytes) -> bytes:
    return _tag(field, _BYTES) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


# The normalizer's map: a double-array trie of byte strings, and what each turns into. The trie is Darts-clone's (Yata
# et al. 2007): a unit of 32 bits holds a label, an offset to its children, and whether one of them is a value.

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
            raise TransformerError(f"{source}: the normalizer's map is damaged; a replacement is outside it")
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
