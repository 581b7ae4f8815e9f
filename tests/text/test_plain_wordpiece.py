"""The short way of plain texts: a law against the long one, which the goldens check against Hugging Face."""

import string

import pytest
import tensorflow as tf
import tokenizer_cases as cases

from tftransformer.text.wordpiece import WordPieceTokenizer, is_plain

hypothesis = pytest.importorskip("hypothesis")
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies

# Normalisation drops it, and it is not ASCII: with it behind, a text goes the long way to the same tokens.
DROPPED = "\u200b"
PLAIN = string.printable.removesuffix("\t\n\r\x0b\x0c") + "\t\n\r"
# Tokens that a kernel which finds words by itself might match across two words.
ODD = ["a.", "a b", "##.", ".##", "[a", "a]", "##a##", "#", "##", "[UNK", "UNK", "unk", "A", "##A", "1", "##1", "é"]


def both_ways(tokenizer, texts):
    assert is_plain(tf.constant(texts)).numpy().all()
    short = tokenizer.tokenize(tf.constant(texts)).to_list()
    return short, tokenizer.tokenize(tf.constant([text + DROPPED for text in texts])).to_list()


@pytest.mark.parametrize("setting", cases.SETTINGS)
def test_every_pair_of_plain_characters(setting):
    tokenizer = WordPieceTokenizer(cases.vocabulary(), **cases.SETTINGS[setting])
    short, long = both_ways(tokenizer, [f"a{x}{y}b" for x in PLAIN for y in PLAIN])
    assert short == long


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.sampled_from([*PLAIN[:-2], *ODD]), max_size=20, unique=True),
    st.lists(st.text(st.sampled_from(PLAIN + "aab [#U]. "), max_size=25), min_size=20, max_size=60),
    st.booleans(),
    st.integers(1, 6),
)
def test_any_vocabulary_and_limit(tokens, texts, lowercase, limit):
    vocabulary = [*cases.SPECIAL, *dict.fromkeys(tokens)]
    tokenizer = WordPieceTokenizer(vocabulary, lowercase=lowercase, max_word_characters=limit)
    short, long = both_ways(tokenizer, [*texts, "[UNK] [CLS]", "a.a b##a aa. unk UNK"])
    assert short == long


def test_plain_and_other_texts_keep_their_places():
    tokenizer = WordPieceTokenizer(cases.vocabulary())
    texts = [*cases.TEXTS[:40], "plain", "", "words", "naïve"] * 2
    found = tokenizer.tokenize(tf.constant(texts)).to_list()
    assert found == [tokenizer.encode(text) for text in texts]


def test_what_is_plain():
    texts = ["", "Tab\tand\r\nline ~", "é", "\x00", "\x7f", "\x0b", b"\xff"]
    assert is_plain(tf.constant(texts)).numpy().tolist() == [True, True, False, False, False, False, False]
