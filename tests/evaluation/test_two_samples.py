"""Distances of two samples against other implementations, and p-values that are right about chance."""

import numpy as np
import pytest
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tftransformer.errors import TransformerError
from tftransformer.evaluation.plots import plot_drift
from tftransformer.evaluation.two_samples import (
    compare,
    count_matrix,
    discrepancy,
    frequency_distance,
    jensen_shannon,
    kolmogorov_smirnov,
    new_terms,
)

draw = np.random.default_rng(0)


@pytest.mark.parametrize("sizes", [(1, 1), (7, 30), (100, 100)])
def test_distances_equal_scipy(sizes):
    first, second = (draw.integers(0, 9, size) for size in sizes)
    assert kolmogorov_smirnov(first, second) == pytest.approx(stats.ks_2samp(first, second).statistic)
    counts = [np.bincount(values, minlength=9) for values in (first, second)]
    assert jensen_shannon(*counts) == pytest.approx(jensenshannon(*counts, base=2) ** 2, abs=1e-12)


def test_frequencies_are_those_of_the_rows_without_what_is_ignored():
    flat, splits = np.array([1, 5, 2, 1, 5, 5, 9]), np.array([0, 3, 3, 7])
    counts = count_matrix(flat, splits, ignored=(1,))
    assert counts.toarray().tolist() == [[1, 1, 0], [0, 0, 0], [0, 2, 1]]
    distance = frequency_distance(counts)
    assert distance(np.array([0]), np.array([2])) == pytest.approx(jensen_shannon(*counts.toarray()[[0, 2]]))


def test_discrepancy_is_the_textbook_sum():
    vectors = draw.normal(size=(9, 3))
    squares = np.square(vectors[:, None] - vectors).sum(-1)
    kernel = np.exp(-squares / (2 * np.median(squares[np.triu_indices(9, 1)])))
    first, second = np.arange(4), np.arange(4, 9)
    own = np.mean([kernel[i, j] for i in first for j in first if i != j])
    other = np.mean([kernel[i, j] for i in second for j in second if i != j])
    across = np.mean([kernel[i, j] for i in first for j in second])
    assert discrepancy(vectors)(first, second) == pytest.approx(own + other - 2 * across)


def mean_gap(values):
    return lambda a, b: abs(values[a].mean() - values[b].mean())


@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("numbers", (60, 20)), ("rare event", (60, 20)), ("rare event", (20, 60)), ("vectors", (20, 15))],
)
def test_where_nothing_has_changed_alarms_are_as_rare_as_promised(kind, sizes):
    # A rare event is seen in one sample alone as a rule: that alone must not be an alarm.
    alarms, rounds = 0, 200
    for seed in range(rounds):
        source = np.random.default_rng(seed)
        if kind == "vectors":
            distance = discrepancy(source.normal(size=(sum(sizes), 3)))
        elif kind == "numbers":
            distance = mean_gap(source.normal(size=sum(sizes)))
        else:
            distance = mean_gap((source.random(sum(sizes)) < 0.02).astype("float64"))
        found = compare(distance, *sizes, splits=19, level=0.1, seed=seed)
        alarms += found.p_value <= 0.1
        assert (found.p_value <= 0.1) == (found.distance > found.noise + 1e-12)
    # Four standard deviations above what is promised.
    assert alarms <= rounds * 0.1 + 4 * (rounds * 0.09) ** 0.5
    assert alarms >= (rounds * 0.1 - 4 * (rounds * 0.09) ** 0.5) * (kind != "rare event")


def test_a_shift_is_found_and_is_beyond_noise():
    values = np.r_[draw.normal(size=100), draw.normal(1.5, size=40)]
    found = compare(lambda a, b: kolmogorov_smirnov(values[a], values[b]), 100, 40, splits=99)
    assert found.p_value == 0.01 and found.distance > found.noise > 0
    again = compare(lambda a, b: kolmogorov_smirnov(values[a], values[b]), 100, 40, splits=99)
    assert again == found


def test_small_shifts_are_found_in_most_samples():
    found = {"numbers": 0, "vectors": 0}
    for seed in range(40):
        source = np.random.default_rng(seed)
        vectors = source.normal(size=(120, 5))
        vectors[80:] += 0.6
        for name, distance in (("numbers", mean_gap(vectors[:, 0])), ("vectors", discrepancy(vectors))):
            found[name] += compare(distance, 80, 40, splits=39, seed=seed).p_value <= 0.05
    assert found["numbers"] >= 26 and found["vectors"] >= 36, found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(old=1, new=5), "old must be at least 2; got 1"),
        (dict(old=5, new=1), "new must be at least 2; got 1"),
        (dict(old=5, new=5, splits=18), r"splits must be at least 19 at level 0\.05; got 18"),
    ],
)
def test_too_little_is_refused(options, message):
    with pytest.raises(TransformerError, match=message):
        compare(lambda a, b: 0.0, **options)


def test_new_words_are_those_that_more_texts_have():
    old = ["the film was good", "the plot was bad", "a film"] * 20
    new = ["the refund was late", "no refund refund refund", ("a film", "refund")] * 10
    found = new_terms(old, new)
    assert [term.term for term in found][:1] == ["refund"]
    assert (found[0].new, found[0].old) == (30, 0) and found[0].score > 3
    assert new_terms(old, old) == [] and new_terms([""], ["..."]) == []


def test_the_plot_is_drawn_also_for_many_labels(tmp_path):
    shares = draw.dirichlet(np.ones(60), 2)
    plot_drift(tmp_path / "x.png", ["a", "b"], [0.2, 1e3], [f"l{i}" for i in range(60)], *shares)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(TransformerError, match="measures must be as many as ratios"):
        plot_drift(tmp_path / "y.png", ["a"], [], ["x"], [1.0], [1.0])
