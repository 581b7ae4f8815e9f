"""SentencePiece's model files: reading, writing, XLM-RoBERTa's order, and every kind of damage."""

import dataclasses
import struct

import numpy as np
import pytest
import sentencepiece_cases as cases

from tftransformer.errors import TransformerError
from tftransformer.text import sentencepiece_model as model_files
from tftransformer.text.sentencepiece import build_trie
from tftransformer.text.sentencepiece_model import PieceType, UnigramModel, model_bytes, parse_charsmap, parse_model

NORMAL, UNKNOWN, CONTROL = PieceType.NORMAL, PieceType.UNKNOWN, PieceType.CONTROL
TINY = UnigramModel(("<unk>", "<s>", "</s>", "a"), (0.0, 0.0, 0.0, -1.5), (UNKNOWN, CONTROL, CONTROL, NORMAL))


@pytest.mark.parametrize("family", list(cases.SETTINGS))
def test_what_is_written_reads_back(family):
    model = parse_model(cases.model_file(family))
    assert parse_model(model_bytes(model)) == model
    assert len(model.pieces) > 200 and model.types.count(UNKNOWN) == 1 and len(model.charsmap) > 200_000
    assert model_files.parse_pieces(cases.model_file(family)) == model.pieces


def test_the_library_reads_what_is_written():
    library = pytest.importorskip("sentencepiece")
    model = cases.model("albert")
    processor = library.SentencePieceProcessor(model_proto=model_bytes(model))
    assert [processor.id_to_piece(i) for i in range(len(processor))] == list(model.pieces)
    assert processor.encode("the quick") == cases.tokenizer("albert").encode("the quick")


def test_scores_of_64_bits_survive():
    model = dataclasses.replace(TINY, scores=(0.0, 0.0, 0.0, -103.46234703063965))
    assert struct.unpack("<f", struct.pack("<f", model.scores[3]))[0] != model.scores[3]
    assert parse_model(model_bytes(model)) == model


def test_xlm_robertas_order_and_back():
    stored = parse_model(cases.model_file("xlm_roberta"))
    moved = model_files.to_fairseq(stored, cases.FAIRSEQ)
    assert moved.pieces[:4] == ("<s>", "<pad>", "</s>", "<unk>") and moved.pieces[-1] == "<mask>"
    assert moved.pieces[4:-1] == stored.pieces[3:] and moved.scores[4:-1] == stored.scores[3:]
    assert model_files.from_fairseq(moved) == stored
    assert model_files.from_fairseq(stored) is None


def test_xlm_robertas_order_needs_special_tokens_in_front():
    with pytest.raises(TransformerError, match="file must begin with three special tokens.* begins with a, <s>, </s>"):
        swapped = dataclasses.replace(TINY, pieces=("a", "<s>", "</s>", "<unk>"), types=TINY.types[::-1])
        model_files.to_fairseq(swapped, cases.FAIRSEQ, "file")


def test_every_truncation_is_one_line():
    data = model_bytes(TINY)
    borders = 0
    for length in range(len(data)):
        try:
            parse_model(data[:length], "file")
            borders += 1  # between two fields, what is left is a model
        except TransformerError as error:
            assert str(error).startswith("file") and "\n" not in str(error)
    assert borders < 10


def test_every_flipped_bit_gives_a_model_or_one_line():
    data = model_bytes(TINY)
    for place in range(len(data)):
        for bit in range(8):
            broken = bytearray(data)
            broken[place] ^= 1 << bit
            try:
                parse_model(bytes(broken), "file")
            except TransformerError as error:
                assert str(error).startswith("file") and "\n" not in str(error)


def piece(text, kind=1):
    body = b"\x0a" + bytes((len(text),)) + text + b"\x15" + struct.pack("<f", -1.0) + b"\x18" + bytes((kind,))
    return b"\x0a" + bytes((len(body),)) + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "file must be a SentencePiece model; it is empty"),
        (b"\x12\x00", "file must be a SentencePiece model; it holds no pieces"),
        (
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\x7f",
            "file is cut short or damaged: 72057594037927935 bytes announced, 0 left",
        ),
        (b"\x0a\xff", "file is cut short: it ends within a number"),
        (b"\xff" * 20, "file is damaged: a number of more than 64 bits ends at byte 10"),
        (b"\x03", "file is damaged: no SentencePiece model has a field like that at byte 1"),
        (b"\x08\x01", "file is damaged: a field is int, not bytes"),
        (piece(b"a", 9), "file is damaged: piece 0 is of type 9"),
        (piece(b"\xff"), "file is damaged: piece 0 is not UTF-8"),
        (piece(b""), "file: a piece must hold text; piece 0 is empty"),
        (piece(b"a"), "file must hold one unknown piece; it holds 0"),
        (piece(b"a", 2) + piece(b"b", 2), "file must hold one unknown piece; it holds 2"),
        (piece(b"a", 2) + piece(b"a"), "file must hold each piece once; pieces 0 and 1 are 'a'"),
        (piece(b"a", 2) + b"\x12\x02\x18\x02", "file must be a unigram model; got BPE"),
        (
            piece(b"a", 2) + b"\x12\x03\x98\x02\x01",
            "file must not fall back to bytes, which neither ALBERT nor XLM-R does",
        ),
    ],
)
def test_damaged_models_are_one_line(data, message):
    with pytest.raises(TransformerError) as error:
        parse_model(data, "file")
    assert str(error.value) == message


def test_scores_are_finite():
    with pytest.raises(TransformerError, match="scores must be finite; piece 3 has nan"):
        parse_model(model_bytes(dataclasses.replace(TINY, scores=(0.0, 0.0, 0.0, float("nan")))))


def test_the_map_of_the_librarys_default_models():
    rules = parse_charsmap(cases.model("albert").charsmap)
    assert rules["\ufb01"] == "fi" and rules["e\u0301"] == "\u00e9" and rules["\u3000"] == " " and rules["\x01"] == ""
    assert "a" not in rules and len(rules) > 7000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x01", "its trie has -1 of 1 bytes"),
        (struct.pack("<I", 4000) + b"\0" * 8, "its trie has 4000 of 12 bytes"),
        (b"\0" * 12, "its trie has 0 of 12 bytes"),
    ],
)
def test_damaged_maps_are_one_line(data, message):
    with pytest.raises(TransformerError) as error:
        parse_charsmap(data, "file")
    assert str(error.value) == f"file: the normalizer's map is damaged; {message}"


def trie_of(units, texts):
    return struct.pack("<I", 4 * len(units)) + np.array(units, "<u4").tobytes() + texts


@pytest.mark.parametrize(
    ("value", "texts", "message"),
    [
        (9, b"b\0", "a replacement is outside it"),
        (0, b"b", "a replacement is outside it"),
        (0, b"\xff\0", "a rule is not UTF-8"),
    ],
)
def test_replacements_are_checked(value, texts, message):
    # Unit 0 is the root with offset 0; "a" (97) has a value at offset 1 from itself.
    units = [0] * 97 + [97 | 1 << 8 | 1 << 10]
    units[96] = 1 << 31 | value
    assert parse_charsmap(trie_of([*units[:96], 1 << 31, units[97]], b"b\0")) == {"a": "b"}
    with pytest.raises(TransformerError, match=message):
        parse_charsmap(trie_of(units, texts), "file")


def test_a_trie_that_points_outside_itself():
    units = [0] * 97 + [97 | 1 << 8 | 5000 << 10]
    with pytest.raises(TransformerError, match="its trie points outside itself"):
        parse_charsmap(trie_of(units, b"b\0"))


def test_a_trie_in_circles_is_refused_in_time():
    # From every unit it goes back to the root: 255 children each, on every level.
    units = [label | label << 10 for label in range(256)]
    with pytest.raises(TransformerError, match="its trie runs in circles"):
        parse_charsmap(trie_of(units, b"\0"))


def test_the_trie_finds_every_piece():
    pieces = ["\u2581", "\u2581a", "\u2581ab", "b", "ba", "abab", "\U0001f600"]
    trie = build_trie(pieces, range(len(pieces)))
    edges = dict(zip(trie.edges.tolist(), trie.children.tolist(), strict=True))
    letters = {c: i for i, c in enumerate(trie.letters.tolist())}
    assert trie.edges.tolist() == sorted(trie.edges.tolist())
    for number, text in enumerate(pieces):
        node = letters[ord(text[0])]
        for character in text[1:]:
            node = edges[node * len(letters) + letters[ord(character)]]
        assert trie.pieces[node] == number
    assert (trie.pieces >= 0).sum() == len(pieces)
