"""Texts from tokens inside a graph; a learned byte-level vocabulary gives every text back."""

import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tftransformer.errors import TransformerError
from tftransformer.text import WordPieceTokenizer, train_byte_bpe

TEXTS = ["a low tower, a lower tower", "ein Hund läuft; zwei Hunde laufen", "low low low läuft"]


@pytest.fixture(scope="module")
def learned():
    return train_byte_bpe(TEXTS, 270)


@given(st.text().map(str.strip))
def test_every_text_comes_back(learned, text):
    ids = learned.tokenize([text.encode("utf-8", "replace")])
    assert learned.detokenize(ids)[0].numpy().decode() == text.encode("utf-8", "replace").decode()


def test_special_tokens_add_nothing_and_graphs_agree(learned):
    ids = learned.tokenize(TEXTS).to_tensor(learned.pad_id)
    ends = tf.fill([3, 1], learned.separator_id)
    graph = tf.function(learned.detokenize, autograph=False)
    found = graph(tf.concat([ends, ids, ends], 1)[:, tf.newaxis])
    assert found.shape == (3, 1) and [text.decode() for text in found[:, 0].numpy()] == TEXTS


def test_parts_from_the_middle_keep_their_space(learned):
    for tokenizer in (learned, WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##do", "it"])):
        ids = tokenizer.encode("un it" if tokenizer is not learned else TEXTS[0])
        whole = tokenizer.detokenize([ids])[0].numpy()
        for place in range(1, len(ids)):
            parts = (
                tokenizer.detokenize([ids[:place]])[0].numpy(),
                tokenizer.detokenize([ids[place:]], inside=True)[0].numpy(),
            )
            assert b"".join(parts) == whole


def test_bytes_that_are_no_character_are_replaced(learned):
    assert learned.detokenize([[learned.encode("ä")[-1]]])[0].numpy().decode() == "\ufffd"


def test_words_of_wordpiece_are_joined():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##do", "it"])
    assert tokenizer.detokenize([[2, 5, 6, 7, 3, 0]])[0].numpy().decode() == "undo it"


def test_a_vocabulary_has_the_size_asked_for(learned):
    assert learned.vocabulary_size == 270 and len(learned.tokenize(["low"]).to_list()[0]) == 1
    assert train_byte_bpe(TEXTS, 5000).vocabulary_size < 5000


@pytest.mark.parametrize(
    ("texts", "size", "told"),
    [(TEXTS, 100, "at least 261.*got 100"), ([], 300, "more than once"), (TEXTS, 2.5, "vocabulary_size must be")],
)
def test_what_cannot_be_learned_is_said_in_a_line(texts, size, told):
    with pytest.raises(TransformerError, match=told):
        train_byte_bpe(texts, size)
