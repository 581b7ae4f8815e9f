"""The report of predicted numbers shows figures, intervals and baselines, and why a figure is missing."""

import json

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.regression import regression_metrics
from tftransformer.evaluation.regression_baselines import mean_baseline
from tftransformer.evaluation.regression_report import RegressionReport

generator = np.random.default_rng(0)
TARGETS = generator.integers(1, 6, 50).astype(float)
PREDICTIONS = TARGETS + generator.normal(0, 0.7, 50)
LEVELS = [1, 2, 3, 4, 5]


def test_a_rating():
    metrics = regression_metrics(TARGETS, PREDICTIONS, ["score"], levels=LEVELS)
    baseline = mean_baseline(TARGETS, TARGETS, ["score"], levels=LEVELS)
    report = RegressionReport(metrics, [baseline], title="Validation", unit="review", units=["stars"])
    text = str(report)
    assert text.startswith("Validation: 50 reviews, score (stars), levels 1, 2, 3, 4, 5\n")
    low, high = metrics["confidence_interval"]["pearson"]
    assert f"{metrics['pearson']:.4f} ({low:.4f}-{high:.4f})" in text and "undefined" in text
    for title in ("this model", "mean of training rows", "R2", "quadratic weighted kappa", "95 % confidence"):
        assert title in text
    assert report["mae"] == metrics["mae"] and repr(report).startswith(f"RegressionReport(mae={metrics['mae']:.4f}")
    assert max(map(len, text.splitlines())) <= 100
    section = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert section["pearson"] == metrics["pearson"] and section["baselines"][0]["name"] == "mean of training rows"


def test_several_numbers():
    targets, predictions = (np.stack([values, -values], -1) for values in (TARGETS, PREDICTIONS))
    text = str(RegressionReport(regression_metrics(targets, predictions, ["up", "down"]), units=("m", "s")))
    assert "Test: 50 texts, 2 numbers" in text and "up (m)" in text and "mean of the numbers" in text


def test_what_is_missing_is_explained():
    text = str(RegressionReport(regression_metrics([1.0, 2.0], [3.0, 3.0])))
    assert "Pearson correlation, Spearman correlation: undefined: all predictions of 'number' are 3" in text
    assert "Too few rows for confidence intervals." in text and "Test: 2 texts, 1 number" in text
    assert "12345.7" in str(RegressionReport(regression_metrics([0.0, 1.0], [12345.67, 12346.67])))


def test_baselines_without_levels_leave_a_gap():
    metrics = regression_metrics(TARGETS, PREDICTIONS, levels=LEVELS)
    lines = str(RegressionReport(metrics, [mean_baseline(TARGETS, TARGETS)])).splitlines()
    assert next(line for line in lines if line.startswith("within")).endswith(" -")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"units": ["a", "b"]}, r"units must be one for each of 1 numbers; got \['a', 'b'\]"),
        ({"baselines": [mean_baseline([1], [1, 2])]}, r"baselines must be of the 50 rows .*got 2 and \['number'\]"),
        ({"baselines": mean_baseline(TARGETS, TARGETS, ["x"])}, r"got 50 and \['x'\]"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(TransformerError, match=message):
        RegressionReport(regression_metrics(TARGETS, PREDICTIONS), **arguments)
