"""Words and gaps, and the operations on them: what changes, how much, and what never does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tftransformer.data.augmentation.operations import BackTranslation, DeleteWords, SwapWords
from tftransformer.data.augmentation.sources import InsertSynonyms, ReplaceSynonyms
from tftransformer.data.augmentation.words import join_words, split_words
from tftransformer.errors import TransformerError

TEXTS = st.one_of(st.text(max_size=40), st.text("ab1 ,.-'’映画\n", max_size=40))
RATES = st.floats(0.01, 1.0)
LONG = " ".join(f"w{i}" for i in range(40))
SYNONYMS = {"film": ["movie", "picture"], "good": ["fine"], "in": ["indium"]}


def synonyms(word):
    return SYNONYMS.get(word.lower(), [])


def applied(operation, text, seed=0):
    return operation.apply([text], [np.random.default_rng(seed)])[0]


def changed_share(operation, rounds=300):
    """Words of LONG that are not what they were, on average."""
    old = LONG.split()
    new = operation.apply([LONG] * rounds, [np.random.default_rng(i) for i in range(rounds)])
    return np.mean([[a != b for a, b in zip(old, text.split(), strict=True)] for text in new])


@given(TEXTS)
def test_words_and_gaps_make_the_text_again(text):
    words, gaps = split_words(text)
    assert join_words(words, gaps) == text and len(gaps) == len(words) + 1
    assert all(words) and not any(character.isalnum() for gap in gaps for character in gap)


def test_what_counts_as_a_word():
    text = "Don't re-run 3.5 times, 映画 ok."
    assert split_words(text)[0] == ["Don't", "re-run", "3.5", "times", "映", "画", "ok"]


@given(TEXTS, RATES, st.integers(0, 99))
def test_swapping_moves_words_and_nothing_else(text, rate, seed):
    words, gaps = split_words(text)
    new = list(words)
    SwapWords(rate).change(new, moved := list(gaps), np.random.default_rng(seed))
    assert sorted(new) == sorted(words) and moved == gaps


@given(TEXTS, RATES, st.integers(0, 99))
def test_deleting_keeps_the_order_and_one_word_at_least(text, rate, seed):
    words, gaps = split_words(text)
    if not words:
        assert applied(DeleteWords(rate), text, seed) == text
        return
    left, between = list(words), list(gaps)
    DeleteWords(rate).change(left, between, np.random.default_rng(seed))
    rest = iter(words)
    assert left and all(word in rest for word in left) and len(between) == len(left) + 1


def test_deleting_leaves_no_double_spaces_and_keeps_marks():
    text = "one two, three (four) five."
    for seed in range(30):
        new = applied(DeleteWords(0.4), text, seed)
        assert "  " not in new and " ," not in new and new == new.strip() and new.endswith(".")


@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_fraction_is_the_mean_fraction_of_changed_words(rate):
    source = lambda word: [word + "x"]  # noqa: E731
    assert changed_share(ReplaceSynonyms(rate, source)) == pytest.approx(rate, rel=0.02)
    # An exchange moves two words, unless a later one meets the same.
    assert changed_share(SwapWords(rate / 2)) == pytest.approx(rate, rel=0.2)
    lengths = [len(applied(DeleteWords(rate), LONG, seed).split()) for seed in range(300)]
    assert np.mean(lengths) == pytest.approx(40 * (1 - rate), rel=0.02)
    lengths = [len(applied(InsertSynonyms(rate, source), LONG, seed).split()) for seed in range(300)]
    assert np.mean(lengths) == pytest.approx(40 * (1 + rate), rel=0.01)


def test_short_texts_change_as_often_as_long_ones():
    source = lambda word: [word + "x"]  # noqa: E731
    new = [applied(ReplaceSynonyms(0.1, source), "film again", seed) for seed in range(1000)]
    assert 0.16 < np.mean([text != "film again" for text in new]) < 0.24


def test_synonyms_keep_the_case_and_function_words_stay():
    seen = {applied(ReplaceSynonyms(1.0, synonyms), "Film in GOOD light", seed) for seed in range(20)}
    assert seen == {"Movie in FINE light", "Picture in FINE light"}


def test_a_word_without_synonyms_makes_room_for_one_that_has_some():
    new = {applied(ReplaceSynonyms(0.25, synonyms), "dark film low light", seed) for seed in range(20)}
    assert new == {"dark movie low light", "dark picture low light"}
    assert applied(ReplaceSynonyms(1.0, synonyms), "dark low light") == "dark low light"


def test_inserted_words_are_synonyms_and_the_rest_stays():
    for seed in range(20):
        new = applied(InsertSynonyms(0.5, synonyms), "a good film.", seed)
        words = split_words(new)[0]
        added = [word for word in words if word not in ("a", "good", "film")]
        assert added and set(added) <= {"movie", "picture", "fine"} and new.endswith(".")
        assert [word for word in words if word in ("a", "good", "film")] == ["a", "good", "film"]


def test_back_translation_asks_once_for_each_text():
    asked = []

    def forward(texts):
        asked.append(list(texts))
        return [text.upper() for text in texts]

    operation = BackTranslation(forward, lambda texts: [text[::-1] for text in texts], fraction=0.5, batch_size=2)
    texts = ["ab", "cd", "ab", "ef", " "]
    operation.prepare(texts)
    operation.prepare([*texts, "gh"])
    assert asked == [["ab", "cd"], ["ef"], ["gh"]]
    new = operation.apply(["ab"] * 400, [np.random.default_rng(i) for i in range(400)])
    assert set(new) == {"ab", "BA"} and 0.42 < np.mean([text == "BA" for text in new]) < 0.58
    assert operation.apply(["new"], [np.random.default_rng(0)]) == ["new"]


@pytest.mark.parametrize("rate", [0, -0.1, 1.5, float("nan"), "0.1", True])
def test_a_fraction_is_above_zero_and_at_most_one(rate):
    with pytest.raises(TransformerError, match="fraction of swap must be above 0 and at most 1; got"):
        SwapWords(rate)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda: ReplaceSynonyms(0.1, "wordnet"), "source must be a callable .*; got str"),
        (lambda: ReplaceSynonyms(0.1).prepare(["a"]), "synonyms needs a source .* inside an Augmentation"),
        (lambda: BackTranslation("de", list), "forward must be a callable .*; got str"),
        (lambda: BackTranslation(list, None), "backward must be a callable .*; got NoneType"),
        (lambda: BackTranslation(list, list, batch_size=0), "batch_size must be at least 1; got 0"),
        (lambda: BackTranslation(lambda t: t[1:], list).prepare(["a", "b"]), "forward must return a text for each"),
        (lambda: BackTranslation(list, lambda t: [1]).prepare(["a"]), r"backward must return .*; got '\[1\]'"),
        (lambda: BackTranslation(list, lambda t: "ab").prepare(["a", "b"]), "backward must return .* 2 it was"),
    ],
)
def test_errors_are_one_line(change, words):
    with pytest.raises(TransformerError, match=words) as error:
        change()
    assert "\n" not in str(error.value)
