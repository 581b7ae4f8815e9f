"""Every word of a sentence is learned and answered once, however long the sentence is."""

import numpy as np
import pytest
import tensorflow as tf

from tftransformer.data import Split, TaggedSplit, split_words
from tftransformer.errors import TransformerError
from tftransformer.objectives import Tagging
from tftransformer.preprocessing import TaggedTextPreprocessor
from tftransformer.preprocessing.tagged_text import IGNORED, WORDS
from tftransformer.preprocessing.words import words_of
from tftransformer.text import WordPieceTokenizer

OBJECTIVE = Tagging(["NOUN", "VERB", "OTHER"])


@pytest.fixture
def tokenizer(tiny_vocabulary):
    return WordPieceTokenizer(tiny_vocabulary)


def sentences(random, count=30):
    """Sentences of words of one piece and of several, some longer than any window; one without words."""
    known = ["good", "movie", "goodgood", "a", "\u200b", "moviegoodbad"]
    words = [[known[i] for i in random.integers(0, len(known), random.integers(0, 40))] for _ in range(count)]
    return TaggedSplit.from_words([[], *words], [[], *[[OBJECTIVE.tags[len(w) % 3] for w in row] for row in words]])


@pytest.mark.parametrize(("length", "overlap"), [(8, None), (8, 0), (8, 5), (3, 0), (64, None), (17, 7)])
def test_each_word_has_one_target_and_one_answer(tokenizer, length, overlap):
    split = sentences(np.random.default_rng(0))
    preprocessor = TaggedTextPreprocessor(tokenizer, length, overlap)
    examples = preprocessor.examples(split, objective=OBJECTIVE)
    assert examples.lengths.max() <= length and len(examples) >= len(split)
    # The ids of targets, looked up as predictions are, are the tags in their order.
    starts = examples.tokens.row_splits[:-1]
    words = examples.inputs[WORDS].words_of(examples.targets.items.values, starts)
    assert [[OBJECTIVE.tags[i] for i in row] for row in words] == [list(row) for row in split.tags]
    assert (examples.targets.items.values != IGNORED).sum() == sum(map(len, split.tags))
    # What a word is looked up at is its first piece, or the unknown token.
    pieces = preprocessor.pieces_of(split)
    firsts = np.concatenate(examples.inputs[WORDS].words_of(examples.tokens.token_ids, starts))
    np.testing.assert_array_equal(firsts, pieces.values[pieces.row_splits[:-1]])
    # Nothing is dropped: windows without what they share give the pieces back.
    for number in range(len(split)):
        rows = np.flatnonzero(examples.inputs[WORDS].sentences == number)
        ids = [examples.tokens.token_ids[starts[row] + 1 : starts[row] + examples.lengths[row] - 1] for row in rows]
        whole = np.concatenate([ids[0], *[part[preprocessor.overlap :] for part in ids[1:]]])
        before = np.cumsum([0, *map(len, split.spans)])[number : number + 2]
        np.testing.assert_array_equal(whole, pieces.values[slice(*pieces.row_splits[before])])


def test_a_word_is_answered_where_it_has_most_context(tokenizer):
    preprocessor = TaggedTextPreprocessor(tokenizer, 10, overlap=4)
    examples = preprocessor.examples([["good"] * 30], objective=OBJECTIVE)
    places = examples.inputs[WORDS].places
    inside = [places[np.array([row])].values for row in range(len(places))]
    assert all(row.min() > 2 for row in inside[1:]) and all(row.max() < 7 for row in inside[:-1])


def test_rows_that_are_taken_and_joined_keep_their_sentences(tokenizer):
    preprocessor = TaggedTextPreprocessor(tokenizer, 8)
    split = sentences(np.random.default_rng(3))
    examples = preprocessor.examples(split, objective=OBJECTIVE)
    words = examples.inputs[WORDS]
    some = np.flatnonzero(words.sentences >= 20)
    taken = examples.take(some)
    found = taken.inputs[WORDS].words_of(taken.targets.items.values, taken.tokens.row_splits[:-1])
    assert [len(row) for row in found] == [len(row) for row in split.tags[20:]]
    joined = type(words).concat([words, words])
    assert len(np.unique(joined.sentences)) == 2 * len(split)


def test_texts_words_and_splits_are_the_same_sentences(tokenizer):
    preprocessor = TaggedTextPreprocessor(tokenizer, 8)
    forms = (
        "good movie, bad",
        ["good movie, bad"],
        [["good", "movie", ",", "bad"]],
        TaggedSplit.from_texts(["good movie, bad"]),
        Split(["good movie, bad"], ["positive"]),
    )
    for x in forms:
        np.testing.assert_array_equal(
            preprocessor.examples(x, objective=OBJECTIVE).tokens.token_ids,
            preprocessor.examples(forms[0], objective=OBJECTIVE).tokens.token_ids,
        )


def test_wrong_input_is_said_in_one_line(tokenizer):
    preprocessor = TaggedTextPreprocessor(tokenizer, 8)
    for x, y, message in (
        (["good movie"], [["NOUN"]], "y must be None with texts: tags go with lists of words"),
        ([["good", "movie"]], [["NOUN"]], "tags must be one for each of the 2 words of train row 0; got 1"),
        ([["good", "bad"]], ["OO"], "tags must be lists of tags, one a word; got 'OO' in row 0"),
        ([["good"]], [["NUON"]], "tags must be among those of the task, NOUN, VERB, OTHER; got 'NUON'"),
        ([["good"]], [["B-X"]], "tags must be of the task's scheme, plain; got those of IOB2"),
        (([["good", "bad"], [""]]), None, "words must be lists of strings that are not empty; row 1"),
        ({"text": ["good"], "text_pair": ["bad"]}, None, "x must be sentences, single ones"),
    ):
        with pytest.raises(TransformerError, match=message):
            preprocessor.examples(x, y, objective=OBJECTIVE)
    with pytest.raises(TransformerError, match="sample_weight must have as many numbers as there are sentences, 1"):
        preprocessor.examples([["good"]], [["NOUN"]], [1.0, 2.0], objective=OBJECTIVE)
    for overlap in (6, -1, 0.5, True):
        with pytest.raises(TransformerError, match="overlap must be at least 0 and below 6"):
            TaggedTextPreprocessor(tokenizer, 8, overlap)


TEXTS = [
    "Off to Rome!",
    "",
    "e\u0301tude  gööd_film\r\n😀x 3½ 東京に行く",
    "good" * 9 + " movie bad" * 20,
    " \u00a0\u2003 ",
    "ש\u05c1לום",
]


def test_a_graph_finds_the_same_words():
    found = words_of(tf.constant(TEXTS))
    for text, strings, starts, ends in zip(TEXTS, *(part.to_list() for part in found), strict=True):
        assert list(zip(starts, ends, strict=True)) == split_words(text)
        assert [string.decode() for string in strings] == [text[start:end] for start, end in split_words(text)]
    assert words_of(tf.constant([], tf.string)).text.shape[0] == 0


@pytest.mark.parametrize(("length", "overlap"), [(8, None), (64, None), (5, 1)])
def test_a_graph_has_the_same_windows(tokenizer, length, overlap):
    preprocessor = TaggedTextPreprocessor(tokenizer, length, overlap)
    examples = preprocessor.examples(TEXTS, objective=OBJECTIVE)
    served = tf.function(preprocessor.graph)(tf.constant(TEXTS))
    ours = examples.features(np.arange(len(examples)), int(examples.lengths.max()))
    for name, value in ours.items():
        np.testing.assert_array_equal(served[name], value, err_msg=name)
    places, words = examples.inputs[WORDS], served["word_start"].numpy() >= 0
    assert [list(row) for row in places.words_of(examples.tokens.token_ids, examples.tokens.row_splits[:-1])] == [
        [
            served["token_ids"].numpy()[served["word_window"][i, j], served["word_place"][i, j]]
            for j in np.flatnonzero(row)
        ]
        for i, row in enumerate(words)
    ]
    for i, text in enumerate(TEXTS):
        ends = served["word_end"].numpy()[i][words[i]]
        assert list(zip(served["word_start"].numpy()[i][words[i]], ends, strict=True)) == split_words(text)
