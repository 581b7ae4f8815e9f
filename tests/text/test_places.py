"""WordPiece's places of tokens in the text, and both tokenizers over a folder of real texts."""

import hashlib
import json
import os
from pathlib import Path

import pytest
import tensorflow as tf
import tokenizer_cases as cases

from tftransformer.text.byte_bpe import ByteBPETokenizer
from tftransformer.text.wordpiece import WordPieceTokenizer

HERE = Path(__file__).parent
GOLDENS = json.loads((HERE / "goldens.json").read_text())
FOLDER = "TFTRANSFORMER_TEXTS"  # environment variable: the folder that folder_goldens.json was made from


@pytest.fixture(scope="module", params=list(cases.SETTINGS))
def setting(request):
    return request.param


@pytest.fixture(scope="module")
def tokenizer(setting):
    return WordPieceTokenizer(cases.vocabulary(), **cases.SETTINGS[setting])


def test_places_equal_hugging_faces(tokenizer, setting):
    found = cases.digests(tokenizer.tokenize_with_offsets(tf.constant(cases.TEXTS)))
    for text, ours, theirs in zip(cases.TEXTS, found, GOLDENS["places"][setting], strict=True):
        assert ours == theirs, ascii(text[:80])


@pytest.mark.by_default("uncased")
@pytest.mark.parametrize("setting", cases.SWEPT, indirect=True)
def test_places_of_every_code_point_equal_hugging_faces(tokenizer, setting):
    assert [int(block) for block in GOLDENS["block_places"][setting]] == cases.BLOCKS
    for block, expected in GOLDENS["block_places"][setting].items():
        found = tokenizer.tokenize_with_offsets(tf.constant([cases.block_text(int(block))]))
        assert cases.digests(found) == [expected], f"block {int(block) * cases.BLOCK:05X}"


def test_places_in_tf_data(tokenizer, setting):
    batches = tf.data.Dataset.from_tensor_slices(cases.TEXTS).batch(7).map(tokenizer.tokenize_with_offsets)
    assert [row for batch in batches for row in cases.digests(batch)] == GOLDENS["places"][setting]


@pytest.mark.parametrize(
    "text, spans",
    [
        ("Crème brûlée", ["Crème", "brûlée"]),
        ("e\u0301a\u0323\u0307!", ["e\u0301a", "!"]),
        ("un\x00do a\u200bb", ["un\x00do", "a\u200bb"]),
        ("日本 \u1112\u1161\u11ab한", ["日", "本", "\u1112\u1161\u11ab한"]),
        ("\ufeff[SEP]", ["[", "SEP", "]"]),
        ("a" * 101 + " İ", ["a" * 101, "İ"]),
    ],
)
def test_places_are_characters_of_the_original_text(text, spans):
    tokenizer = WordPieceTokenizer([*cases.SPECIAL, "z"])  # every word is one unknown token
    _, starts, ends = (part[0].numpy() for part in tokenizer.tokenize_with_offsets([text]))
    assert [text[a:b] for a, b in zip(starts, ends, strict=True)] == spans


def test_replaced_bytes_count_as_one_character_each():
    tokenizer = WordPieceTokenizer([*cases.SPECIAL, "z"])
    found = tokenizer.tokenize_with_offsets(tf.constant([b"\xff\xe4\xb8z \xed\xa0\x80z"]))
    assert found.starts.to_list() == [[2, 7]] and found.ends.to_list() == [[3, 8]]


def test_nothing_has_no_places(tokenizer):
    for texts, expected in ([], []), (["", " "], [[], []]):
        found = tokenizer.tokenize_with_offsets(tf.constant(texts, tf.string))
        assert [part.to_list() for part in found] == [expected] * 3
        assert all(part.dtype == tf.int32 for part in found)


@pytest.mark.live
@pytest.mark.parametrize("limit", [100, 5])
def test_random_places_live(tokenizer, setting, limit):
    """Neighbours that act on each other: marks that change places, characters that vanish, spaces."""
    pytest.importorskip("tokenizers")
    import random

    import tokenizer_reference as reference

    from tftransformer.text.code_points import read_rules

    chance = random.Random(20240504)
    pools = [sorted(members) for members in read_rules().values()]
    pools += [[0x1D15E, 0x1D15F, 0x1D1BB, 0x344, 0xF73, 0x302E, 0xA953, 0x1B44], list(range(32, 127))]
    pools += [[ord(token) for token in cases.vocabulary() if len(token) == 1]]
    texts = [
        "".join(chr(chance.choice(chance.choice(pools))) for _ in range(chance.randrange(14))) for _ in range(40_000)
    ]
    settings = cases.SETTINGS[setting]
    theirs = reference.word_piece(cases.vocabulary(), max_word_characters=limit, **settings)
    ours = WordPieceTokenizer(cases.vocabulary(), max_word_characters=limit, **settings)
    rows = zip(*(part.to_list() for part in ours.tokenize_with_offsets(tf.constant(texts))), strict=True)
    for text, row in zip(texts, rows, strict=True):
        assert row == theirs(text), ascii(text)


@pytest.mark.live
@pytest.mark.skipif(FOLDER not in os.environ, reason=f"{FOLDER} names no folder of texts")
@pytest.mark.parametrize("name", [*cases.SETTINGS, "byte_bpe"])
def test_texts_of_a_folder_live(name):
    if name == "byte_bpe":
        tokenizer = ByteBPETokenizer.from_files({}, cases.byte_bpe_files())
    else:
        tokenizer = WordPieceTokenizer(cases.vocabulary(), **cases.SETTINGS[name])
    goldens = json.loads((HERE / "folder_goldens.json").read_text())[name]
    texts = cases.folder_texts(Path(os.environ[FOLDER]))
    assert sorted(texts) == sorted(goldens)
    for file, lines in texts.items():
        digests = "".join(cases.digests(tokenizer.tokenize_with_offsets(tf.constant(lines))))
        assert hashlib.sha256(digests.encode()).hexdigest()[:12] == goldens[file], file
