"""The word-counting baseline learns what words can tell, on any kind of text, from training rows alone."""

import warnings

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import tfidf_baseline

LABELS = ["bad", "fine", "good"]


def texts_of(seed, rows, words=("awful", "okay", "great")):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, len(words), rows)
    filler = np.array(["the film", "a plot", "its cast", "was it", "so very"])
    noisy = np.where(generator.random(rows) < 0.15, generator.integers(0, len(words), rows), targets)
    return [f"{filler[generator.integers(5)]} {words[n]} {filler[generator.integers(5)]}" for n in noisy], targets


def test_it_learns_words_and_reports_like_a_model():
    b = tfidf_baseline(*texts_of(0, 150), *texts_of(1, 90), LABELS)
    assert 0.75 < b["accuracy"] < 0.99 and b["macro_f1"] > 0.7
    assert set(b["per_class"]) == set(LABELS) and b["auc"] > 0.85 and b["examples"] == 90
    assert b["confidence_interval"]["macro_f1"][0] < b["macro_f1"] < b["confidence_interval"]["macro_f1"][1]
    assert b["seconds"] > 0 and b["name"] == "TF-IDF + logistic regression"
    again = tfidf_baseline(*texts_of(0, 150), *texts_of(1, 90), LABELS)
    again["seconds"] = b["seconds"]
    assert again == b


def test_the_test_rows_do_not_change_what_is_learnt():
    test_texts, test_targets = texts_of(1, 60)
    whole = tfidf_baseline(*texts_of(0, 60), test_texts, test_targets, LABELS)
    half = tfidf_baseline(*texts_of(0, 60), test_texts[:30], test_targets[:30], LABELS)
    for key in ("regularisation_c", "minimum_texts", "features"):
        assert whole[key] == half[key]


def test_word_order_counts_in_pairs_of_words():
    train = ["not good but bad", "not bad but good"] * 20
    b = tfidf_baseline(train, [0, 1] * 20, ["not bad but good", "not good but bad"], [1, 0], ["neg", "pos"])
    assert b["accuracy"] == 1.0


def test_text_without_spaces():
    words = ("很差的", "还可以", "非常好")
    train, targets = texts_of(0, 90, words)
    test, truth = texts_of(1, 60, words)
    squeezed = [[text.replace(" ", "，") for text in part] for part in (train, test)]
    b = tfidf_baseline(squeezed[0], targets, squeezed[1], truth, LABELS)
    assert b["accuracy"] > 0.7


def test_pairs_know_which_side_a_word_is_on_and_what_both_share():
    generator = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(12)])
    sides = np.array([generator.permutation(12)[:2] for _ in range(300)])
    by_side = [("up", "down") if t else ("down", "up") for t in range(2) for _ in range(20)]
    b = tfidf_baseline(by_side, [0] * 20 + [1] * 20, [("up", "down"), ("down", "up")], [1, 0], ["a", "b"])
    assert b["accuracy"] == 1.0
    same = np.arange(300) % 2
    pairs = [(words[i], words[i] if s else words[j]) for (i, j), s in zip(sides, same, strict=True)]
    b = tfidf_baseline(pairs[:200], same[:200], pairs[200:], same[200:], ["different", "same"])
    assert b["accuracy"] > 0.9


def test_several_labels():
    def data(seed):
        generator = np.random.default_rng(seed)
        targets = generator.random((80, 3)) < [0.5, 0.3, 0.0]
        names = ("alpha", "beta", "gamma")
        return [" ".join([n for n, t in zip(names, row, strict=True) if t] + ["x"]) for row in targets], targets.astype(
            int
        )

    b = tfidf_baseline(*data(0), *data(1), ["a", "b", "never"])
    assert b["subset_accuracy"] > 0.95 and b["micro_f1"] > 0.95
    assert len(set(b["thresholds"])) == 1 and b["per_class"]["never"]["support"] == 0


@pytest.mark.parametrize(
    ("texts", "targets"),
    [
        (["", "", "?!"], [0, 1, 1]),
        (["a b"], [1]),
        (["a", "b"], [1, 1]),
        (["a", "b", "a"], [0, 2, 0]),
        (["rare word here"] * 9 + ["once"], [0] * 9 + [1]),
    ],
)
def test_next_to_nothing_to_learn_from(texts, targets):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        b = tfidf_baseline(texts, targets, ["a", "", "b c"], [0, 1, 2], LABELS)
    assert 0 <= b["accuracy"] <= 1 and np.isfinite(b["loss"])


def test_many_rows_are_searched_coarsely():
    b = tfidf_baseline(*texts_of(0, 2100), *texts_of(1, 50), LABELS)
    assert b["minimum_texts"] == 2 and b["accuracy"] > 0.7


@pytest.mark.parametrize(("texts", "targets"), [([], []), (["a"], [0, 1])])
def test_texts_without_targets(texts, targets):
    with pytest.raises(TransformerError, match="train_targets must have one row for each text"):
        tfidf_baseline(texts, targets, ["a"], [0], LABELS)
