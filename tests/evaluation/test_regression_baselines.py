"""Ridge regression on word counts learns numbers that words tell, on texts and pairs, from training rows alone."""

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.regression_baselines import mean_baseline, tfidf_ridge_baseline

WORDS = np.array(["awful", "poor", "okay", "good", "great"])


def texts_of(seed, rows):
    generator = np.random.default_rng(seed)
    filler = np.array(["the film", "a plot", "its cast", "was it", "so very"])
    places = generator.integers(0, 5, rows)
    texts = [f"{filler[generator.integers(5)]} {WORDS[n]} {filler[generator.integers(5)]}" for n in places]
    return texts, places + 1 + generator.normal(0, 0.5, rows)


def test_it_learns_words_and_repeats():
    b = tfidf_ridge_baseline(*texts_of(0, 150), *texts_of(1, 60), ["stars"])
    assert (
        0.85 < b["pearson"] < 0.99 and b["name"] == "TF-IDF + ridge regression" and list(b["per_number"]) == ["stars"]
    )
    again = tfidf_ridge_baseline(*texts_of(0, 150), *texts_of(1, 60), ["stars"])
    assert {**again, "seconds": 0} == {**b, "seconds": 0}


def test_the_test_rows_do_not_change_what_is_learnt():
    texts, targets = texts_of(1, 40)
    whole = tfidf_ridge_baseline(*texts_of(0, 60), texts, targets)
    half = tfidf_ridge_baseline(*texts_of(0, 60), texts[:20], targets[:20])
    assert all(whole[key] == half[key] for key in ("alpha", "minimum_texts", "features"))


def test_pairs_are_compared():
    generator = np.random.default_rng(2)
    words = np.array([f"w{i}" for i in range(300)])
    pairs, targets = [], []
    for _ in range(300):
        first = generator.choice(words, 6, replace=False)
        same = int(generator.integers(0, 7))
        pairs.append((" ".join(first), " ".join([*first[:same], *generator.choice(words, 6 - same)])))
        targets.append(same)
    b = tfidf_ridge_baseline(pairs[:200], targets[:200], pairs[200:], targets[200:])
    assert b["pearson"] > 0.9


def test_several_numbers_of_different_scale():
    (train, first), (test, truth) = texts_of(0, 100), texts_of(1, 50)
    targets, wanted = (np.stack([values, 1000 - 100 * values], -1) for values in (first, truth))
    b = tfidf_ridge_baseline(train, targets, test, wanted, ["stars", "grams"])
    assert min(b["per_number"][name]["pearson"] for name in ("stars", "grams")) > 0.85


def test_predictions_stay_within_the_training_targets():
    b = tfidf_ridge_baseline(["good"] * 3 + ["bad"] * 3, [5, 5, 5, 1, 1, 1], ["good good good bad", "x"], [5.0, 3.0])
    assert b["mae"] <= 4


@pytest.mark.parametrize("texts", [["!!", "??"], [("!", "?"), ("?", "")]])
def test_texts_without_a_word_give_the_mean(texts):
    b = tfidf_ridge_baseline(texts, [1.0, 3.0], texts, [2.0, 2.0])
    assert b["mae"] == pytest.approx(0, abs=1e-6)


def test_one_row_and_many_rows():
    assert tfidf_ridge_baseline(["good"], [3], ["bad"], [4])["mae"] == pytest.approx(1)
    b = tfidf_ridge_baseline(*texts_of(0, 2100), *texts_of(1, 50))
    assert b["alpha"] in (0.1, 1.0, 10.0) and b["pearson"] > 0.85


def test_the_mean_has_no_correlation():
    b = mean_baseline([1.0, 3.0], np.arange(20.0), ["x"])
    assert b["name"] == "mean of training rows" and b["pearson"] is None and b["r2"] < 0
    assert b["mae"] == pytest.approx(np.abs(np.arange(20) - 2).mean())
    rated = mean_baseline([1, 5, 4, 4], [3, 4, 4], levels=[1, 2, 3, 4, 5])
    assert rated["accuracy"] == pytest.approx(1 / 3) and rated["kappa"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_baseline([], [1]), "train_targets must hold at least one number"),
        (lambda: mean_baseline([[1, 2]], [1]), "test_targets must have 2 numbers in each row; got 1"),
        (
            lambda: tfidf_ridge_baseline(["a"], [1, 2], ["a"], [1]),
            "train_targets must have one row for each of 1 texts",
        ),
        (lambda: tfidf_ridge_baseline(["a"], [1], ["a"], [1, 2]), "test_targets must have one row for each of 1 texts"),
        (lambda: tfidf_ridge_baseline(["a"], ["x"], ["a"], [1]), "train_targets must hold numbers; got 'x'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(TransformerError, match=message):
        call()
