"""Figures of predicted numbers are those of scipy and scikit-learn; their intervals those of resampling the rows."""

import json

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from tftransformer.errors import TransformerError
from tftransformer.evaluation import regression
from tftransformer.evaluation.regression import regression_metrics

FIGURES = ("mse", "rmse", "mae", "r2", "pearson", "spearman")


def numbers_of(seed, shape, scale=1.0, ties=False):
    generator = np.random.default_rng(seed)
    targets = generator.normal(0, scale, shape)
    predictions = targets + generator.normal(0, scale, shape)
    return (np.round(targets), np.round(predictions)) if ties else (targets, predictions)


def expected(targets, predictions):
    return {
        "mse": sk.mean_squared_error(targets, predictions),
        "rmse": sk.root_mean_squared_error(targets, predictions),
        "mae": sk.mean_absolute_error(targets, predictions),
        "r2": sk.r2_score(targets, predictions),
        "pearson": stats.pearsonr(targets, predictions).statistic,
        "spearman": stats.spearmanr(targets, predictions).statistic,
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [3, 8, 150])
def test_figures_are_those_of_scipy_and_scikit_learn(rows, ties):
    targets, predictions = numbers_of(rows, rows, 3.0, ties)
    found = regression_metrics(targets, predictions)
    for key, value in expected(targets, predictions).items():
        assert found[key] == pytest.approx(value, rel=1e-9), key
    assert found["examples"] == rows and found["per_number"]["number"]["mse"] == found["mse"]


def test_numbers_far_from_zero_keep_their_digits():
    targets, predictions = numbers_of(0, 60)
    near, far = regression_metrics(targets, predictions), regression_metrics(targets + 1e6, predictions + 1e6)
    for key in FIGURES:
        assert far[key] == pytest.approx(near[key], rel=1e-6)
        assert far["confidence_interval"][key] == pytest.approx(near["confidence_interval"][key], rel=1e-6)


def test_several_numbers_and_their_mean():
    targets, predictions = numbers_of(1, (80, 3))
    found = regression_metrics(targets, predictions, ["a", "b", "c"])
    for k, name in enumerate("abc"):
        for key, value in expected(targets[:, k], predictions[:, k]).items():
            assert found["per_number"][name][key] == pytest.approx(value, rel=1e-9)
    for key in FIGURES:
        each = [found["per_number"][name][key] for name in "abc"]
        assert found[key] == pytest.approx(np.mean(each))
        widths = [np.diff(found["per_number"][name]["confidence_interval"][key])[0] for name in "abc"]
        assert np.diff(found["confidence_interval"][key])[0] < max(widths)
    assert list(regression_metrics(targets, predictions)["per_number"]) == ["number 1", "number 2", "number 3"]


@pytest.mark.parametrize("ties", [False, True])
def test_each_resample_is_measured_exactly(ties):
    targets, predictions = numbers_of(2, 40, 2.0, ties)
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, 40, (25, 40))
    counts = np.stack([np.bincount(rows, minlength=40) for rows in drawn]).astype(float)
    found = regression._Column(targets, predictions, None).figures(counts)
    for place, rows in enumerate(drawn):
        for key, value in expected(targets[rows], predictions[rows]).items():
            assert found[key][place] == pytest.approx(value, rel=1e-8), key


def test_intervals_are_those_of_another_bootstrap():
    targets, predictions = numbers_of(3, 120)
    found = regression_metrics(targets, predictions)["confidence_interval"]
    assert found.pop("level") == 0.95
    for key, statistic in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        other = stats.bootstrap(
            (targets, predictions),
            lambda a, b, axis=-1: (
                np.array([statistic(x, y).statistic for x, y in zip(a, b, strict=True)])
                if a.ndim > 1
                else statistic(a, b).statistic
            ),
            paired=True,
            vectorized=True,
            n_resamples=1000,
            method="percentile",
            rng=1,
        ).confidence_interval
        assert found[key] == pytest.approx(list(other), abs=0.03)
    assert all(low < regression_metrics(targets, predictions)[key] < high for key, (low, high) in found.items())


def test_intervals_cover_what_they_promise():
    covered = {"pearson": 0, "mse": 0}
    for seed in range(100):
        targets, predictions = numbers_of(seed, 80)
        interval = regression_metrics(targets, predictions)["confidence_interval"]
        for key, truth in (("pearson", np.sqrt(0.5)), ("mse", 1.0)):
            covered[key] += interval[key][0] <= truth <= interval[key][1]
    assert all(86 <= count <= 100 for count in covered.values()), covered


def test_a_seed_repeats_and_json_takes_everything():
    targets, predictions = numbers_of(4, 50)
    first = regression_metrics(targets, predictions, seed=3)
    assert first == regression_metrics(targets[:, None], predictions, seed=3)
    assert first["confidence_interval"] != regression_metrics(targets, predictions, seed=4)["confidence_interval"]
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_many_rows_are_drawn_in_parts(monkeypatch):
    targets, predictions = numbers_of(5, 60)
    monkeypatch.setattr(regression, "_CHUNK", 60 * 7)
    found = regression_metrics(targets, predictions)
    assert found["confidence_interval"]["mse"][0] < found["mse"] < found["confidence_interval"]["mse"][1]


def test_what_is_undefined_says_why():
    targets, predictions = numbers_of(6, (30, 2))
    predictions[:, 1] = 0.1
    found = regression_metrics(targets, predictions, ["a", "b"])
    assert found["pearson"] is found["spearman"] is None and found["r2"] is not None
    assert found["pearson_note"] == "undefined: all predictions of 'b' are 0.1"
    assert found["confidence_interval"]["pearson"] is None and found["confidence_interval"]["r2"] is not None
    assert found["per_number"]["a"]["pearson"] is not None and "pearson_note" not in found["per_number"]["a"]
    constant = regression_metrics([0.1] * 30, targets[:, 0])
    assert constant["r2"] is constant["pearson"] is None and "all targets" in constant["r2_note"]
    alone = regression_metrics([1.0], [2.0])
    assert (
        alone["mse"] == 1
        and alone["r2"] is None
        and alone["pearson_note"] == ("undefined: there is one row of 'number', not two")
    )
    assert regression_metrics([1.0, 2.0], [2.0, 3.0])["confidence_interval"]["mse"] is None


def test_a_few_different_targets_leave_some_resamples_out():
    found = regression_metrics([0.0] * 11 + [1.0], np.arange(12.0))
    assert found["confidence_interval"]["pearson"][0] > 0


def test_ratings_agree_as_scikit_learn_says():
    generator = np.random.default_rng(7)
    targets = generator.integers(1, 6, 90).astype("float32")
    predictions = targets + generator.normal(0, 1.0, 90)
    found = regression_metrics(targets, predictions, levels=[1, 2, 3, 4, 5])
    nearest = np.clip(np.round(predictions), 1, 5)
    assert found["accuracy"] == pytest.approx(np.mean(nearest == targets))
    assert found["within_one_level"] == pytest.approx(np.mean(np.abs(nearest - targets) <= 1))
    kappa = sk.cohen_kappa_score(targets.astype(int), nearest.astype(int), weights="quadratic", labels=range(1, 6))
    assert found["kappa"] == pytest.approx(kappa) and found["levels"] == [1, 2, 3, 4, 5]
    low, high = found["confidence_interval"]["kappa"]
    assert 0 < low < kappa < high < 1


def test_levels_need_not_be_whole_and_halves_go_down():
    targets = [1.0, 1.5, 2.0, 2.5]
    found = regression_metrics(targets, [1.25, 1.5, 9.0, 1.0], levels=[1, 1.5, 2, 2.5])
    assert (found["accuracy"], found["within_one_level"]) == (0.5, 0.75)


def test_one_level_alone_has_no_kappa():
    found = regression_metrics([1.0, 1.0], [1.0, 1.2], levels=[1, 2])
    assert found["kappa"] is None and found["kappa_note"] == (
        "undefined: all targets and predictions of 'number' are of one level"
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: regression_metrics([], []), r"targets must hold at least one number; got shape \(0,\)"),
        (lambda: regression_metrics([1, 2], [1]), r"predictions must have the shape of targets, \(2,\); got \(1,\)"),
        (lambda: regression_metrics([1], ["a"]), "predictions must hold numbers; got 'a' in row 0"),
        (lambda: regression_metrics([np.nan], [1]), "targets must hold finite numbers; got nan in row 0"),
        (lambda: regression_metrics([1], [1], ["a", "b"]), r"names must be 1 different names.*got \['a', 'b'\]"),
        (lambda: regression_metrics([[1, 2]], [[1, 2]], ["a", "a"]), "names must be 2 different names"),
        (lambda: regression_metrics([1], [1], levels=[2, 1]), r"levels must be .* in rising order; got \[2, 1\]"),
        (lambda: regression_metrics([1], [1], levels=[1]), "levels must be at least two numbers"),
        (
            lambda: regression_metrics([1, 1.5], [1, 1], levels=[1, 2]),
            r"targets must be among the levels, 1, 2; got 1.5 for 'number' in row 1 \(from 0\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(TransformerError, match=message):
        call()
