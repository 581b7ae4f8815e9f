"""Laws of calibration: known temperatures are found, decisions stay, promises of coverage hold on new rows."""

import numpy as np
import pytest
from scipy import special

from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import (
    Confidence,
    confidence_for,
    conformal_threshold,
    coverage_curve,
    fit_temperature,
    label_sets,
    reliability,
    with_temperature,
)


def drawn(rows, classes, seed, temperature=1.0, scale=2.0):
    """Targets drawn from the probabilities of logits, and the probabilities that a model says which is too sure."""
    draw = np.random.default_rng(seed)
    logits = draw.normal(0, scale, (rows, classes))
    true = special.softmax(logits, -1)
    targets = (true.cumsum(-1) < draw.random((rows, 1))).sum(-1)
    return targets, special.softmax(logits * temperature, -1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_of_overconfident_logits_is_found(temperature):
    targets, said = drawn(20000, 4, 0, temperature)
    found = fit_temperature(targets, said)
    assert found == pytest.approx(temperature, rel=0.05)
    calibrated = with_temperature(said, found)
    np.testing.assert_array_equal(calibrated.argmax(-1), said.argmax(-1))
    np.testing.assert_allclose(calibrated.sum(-1), 1)
    assert reliability(targets, calibrated).error < 0.012
    if temperature != 1:
        assert reliability(targets, said).error > 0.05


def test_several_labels_a_text_share_a_temperature():
    draw = np.random.default_rng(1)
    logits = draw.normal(0, 2, (8000, 3))
    targets = (draw.random(logits.shape) < special.expit(logits)).astype(int)
    said = special.expit(2 * logits)
    found = fit_temperature(targets, said)
    assert found == pytest.approx(2, rel=0.05)
    before, after = (reliability(targets, p).error for p in (said, with_temperature(said, found, multi_label=True)))
    assert after < 0.02 < before


def test_a_model_that_is_sure_and_right_or_wrong_stays_within_bounds():
    sure = np.eye(2)[[0, 1, 0, 1]]
    assert fit_temperature(np.array([1, 0, 1, 0]), sure) == pytest.approx(20, rel=1e-2)
    # Rows that are all right, however many or few, leave a doubt of one in so many and two.
    for rows in (4, 400):
        right = np.tile([[0.9, 0.1]], (rows, 1))
        found = with_temperature(right, fit_temperature(np.zeros(rows, int), right))
        np.testing.assert_allclose(found[:, 0], 1 - 1 / (rows + 2), atol=1e-3)


def test_reliability_counts_every_decision_once():
    targets, said = drawn(501, 3, 2)
    found = reliability(targets, said, bins=7)
    assert found.count.sum() == 501
    assert np.average(found.accuracy, weights=found.count) == pytest.approx((said.argmax(-1) == targets).mean())
    assert np.average(found.confidence, weights=found.count) == pytest.approx(said.max(-1).mean())


def test_coverage_ends_with_every_text_and_its_threshold_answers_so_many():
    targets, said = drawn(400, 3, 3)
    said = said.round(2)
    said /= said.sum(-1, keepdims=True)
    curve = coverage_curve(targets, said)
    assert (curve.answered[-1], curve.right[-1]) == (400, (said.argmax(-1) == targets).sum())
    for threshold, answered, right in zip(*curve[:3], strict=True):
        given = said.max(-1) >= threshold
        assert (given.sum(), (said.argmax(-1) == targets)[given].sum()) == (answered, right)
    thresholds = [confidence_for(curve, 0.7, certainty) for certainty in (0.5, 0.9, 0.999)]
    assert thresholds == sorted(thresholds) and thresholds[0] < thresholds[-1]
    assert confidence_for(curve, 1.0) is None


@pytest.mark.parametrize("rows", [100, 300, 1000, 2000])
@pytest.mark.parametrize("wanted", [0.9, 0.95])
def test_no_threshold_is_found_by_chance_where_none_is_right(rows, wanted):
    """Answers are a little less accurate than wanted at every confidence, and all thresholds have been looked through."""
    draw, found = np.random.default_rng(rows), 0
    for _ in range(500):
        said = draw.uniform(0.5, 1.0, rows)
        targets = (draw.random(rows) >= wanted - 0.02).astype(int)
        curve = coverage_curve(targets, np.stack([said, 1 - said], 1))
        found += confidence_for(curve, wanted) is not None
    # In a tenth of the draws at most: .14 is three standard errors above.
    assert found / 500 < 0.14


@pytest.mark.parametrize("rows", [100, 500, 2000])
def test_answers_are_as_accurate_as_promised_on_new_rows(rows):
    kept, answered = [], []
    for seed in range(200):
        targets, said = drawn(rows + 4000, 4, seed, scale=3.0)
        threshold = confidence_for(coverage_curve(targets[:rows], said[:rows]), 0.9)
        given = np.zeros(4000, bool) if threshold is None else said[rows:].max(-1) >= threshold
        answered.append(given.mean())
        # By so many rows the accuracy itself is known to half a percent.
        kept.append(not given.any() or (said.argmax(-1) == targets)[rows:][given].mean() >= 0.895)
    assert np.mean(kept) > 0.9 - 0.06
    # What can be answered at all: a promise that is kept by silence is none.
    best = confidence_for(coverage_curve(*drawn(100_000, 4, 1, scale=3.0)), 0.9)
    possible = (drawn(100_000, 4, 2, scale=3.0)[1].max(-1) >= best).mean()
    assert np.mean(answered) > {100: 0.08, 500: 0.6, 2000: 0.8}[rows] * possible


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"accuracy": 0.0}, "accuracy must be above 0 and at most 1; got 0.0"),
        ({"accuracy": 90}, "accuracy must be above 0 and at most 1; got 90"),
        ({"accuracy": 0.9, "certainty": 1.0}, "certainty must be above 0 and below 1; got 1.0"),
    ],
)
def test_numbers_out_of_range_are_refused(given, message):
    with pytest.raises(TransformerError, match=message):
        confidence_for(coverage_curve(*drawn(50, 3, 0)), **given)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("rows", [40, 300])
def test_sets_hold_the_true_label_as_often_as_promised(coverage, rows):
    held = []
    for seed in range(300):
        targets, said = drawn(rows + 200, 5, seed, temperature=2.0)
        threshold = conformal_threshold(targets[:rows], said[:rows], coverage)
        sets = label_sets(said[rows:], threshold)
        held.append(sets[np.arange(200), targets[rows:]].mean())
    # The promise is at least `coverage`, and at most one row of the held-out ones more, but that the likeliest stays.
    assert np.mean(held) > coverage - 0.006
    assert np.mean(held) < coverage + 1 / (rows + 1) + 0.03


def test_sets_keep_their_promise_where_the_same_rows_gave_the_temperature():
    # As a run has it: one number is fitted to the rows that then choose the threshold.
    held = []
    for seed in range(150):
        targets, said = drawn(260, 5, seed, temperature=3.0)
        said = with_temperature(said, fit_temperature(targets[:60], said[:60]))
        sets = label_sets(said[60:], conformal_threshold(targets[:60], said[:60], 0.9))
        held.append(sets[np.arange(200), targets[60:]].mean())
    assert 0.9 - 0.008 < np.mean(held) < 0.9 + 1 / 61 + 0.02


@pytest.mark.parametrize("rows", [3, 25, 200])
def test_sets_hold_the_likeliest_label_and_grow_with_coverage(rows):
    for seed in range(20):
        targets, said = drawn(rows + 50, 6, seed, temperature=2.0)
        said = said.round(1) if seed % 2 else said  # with ties
        before = np.zeros((50, 6), bool)
        for coverage in (0.01, 0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999):
            sets = label_sets(said[rows:], conformal_threshold(targets[:rows], said[:rows], coverage))
            assert sets[np.arange(50), said[rows:].argmax(-1)].all()
            assert (sets >= before).all()
            before = sets
        assert before.all()  # which no 200 rows can promise of fewer labels


def test_too_few_rows_promise_every_label():
    targets, said = drawn(5, 3, 0)
    assert conformal_threshold(targets, said, 0.9) == 0
    assert label_sets(said, 0.0).all()


def test_wrong_arguments():
    targets, said = drawn(5, 3, 0)
    with pytest.raises(TransformerError, match="coverage must be above 0 and below 1; got 1"):
        conformal_threshold(targets, said, 1)
    with pytest.raises(TransformerError, match="one label a text; got shape"):
        coverage_curve(np.eye(3)[targets], said)


def test_a_report_measures_on_rows_that_chose_nothing():
    (held, held_said), (test, test_said) = (drawn(2000, 4, seed, temperature=2.0) for seed in (1, 2))
    temperature = fit_temperature(held, held_said)
    held_said, test_said = (with_temperature(said, temperature) for said in (held_said, test_said))
    found = Confidence((held, held_said), (test, test_said), temperature)
    m = found.metrics
    assert m["error"] < 0.04 < m["error_before"]
    for wanted, row in m["answers"].items():
        if row["threshold"] is not None:
            assert float(wanted) - 0.02 < row["accuracy"] < float(wanted) + 0.06
    for wanted, row in m["sets"].items():
        assert row["coverage"] == pytest.approx(float(wanted), abs=0.025) and 1 <= row["size"] <= 4
    text = str(found)
    assert "temperature 2.0" in text and text.count("\n") == 9
    several = Confidence((np.eye(4)[held], held_said), (np.eye(4)[test], test_said))
    assert set(several.metrics) == {"temperature", "error", "error_before", "held_out"}


def test_an_accuracy_that_no_threshold_gives_is_said():
    targets, said = np.array([0, 1] * 10), np.tile([[0.9, 0.1]], (20, 1))
    row = next(
        line for line in str(Confidence((targets, said), (targets, said))).splitlines() if line.startswith("90%")
    )
    assert row.split()[-3:] == ["-", "0.0%", "-"]
