"""Canonical composition against the `tokenizers` library's."""

import random
import unicodedata

import pytest
import tensorflow as tf
from tokenizers import normalizers

from tftransformer.text.nfc import Composer

NFC = normalizers.NFC().normalize_str
JAMO = [chr(c) for first, end in ((0x1100, 0x1113), (0x1161, 0x1176), (0x11A7, 0x11C3)) for c in range(first, end)]
MARKS = [chr(c) for c in range(0x300, 0x370)]


def check(texts):
    found = Composer()(tf.constant(texts, tf.string)).numpy()
    wrong = [ascii(text) for text, ours in zip(texts, found, strict=True) if ours.decode() != NFC(text)]
    assert not wrong, wrong[:5]


@pytest.fixture(scope="module")
def changing():
    """Characters that composition changes, or that may change others."""
    found = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    return [c for c in found if unicodedata.combining(c) or unicodedata.decomposition(c)[:1] not in ("", "<")]


def test_every_character_alone(changing):
    check([*changing, "가", "각", "힣", ""])


def test_random_texts(changing):
    draw = random.Random(1)
    alphabets = (changing, JAMO, list("aeouAEO n"), MARKS)
    check(["".join(draw.choice(draw.choice(alphabets)) for _ in range(draw.randrange(9))) for _ in range(8000)])
    stems = "aeouAEOcdȨế"
    check(
        [
            "".join(draw.choice(stems) + "".join(draw.choices(MARKS, k=draw.randrange(5))) for _ in "abc")
            for _ in range(4000)
        ]
    )


def test_texts_do_not_meet():
    check(["e", "\u0301", "\u1100", "\u1161", "\uac00", "\u11a8"])
    assert Composer()(tf.constant([], tf.string)).shape == (0,)
