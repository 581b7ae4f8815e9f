"""Metrics agree with scikit-learn, obey their laws, and refuse what does not fit."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tftransformer.errors import TransformerError
from tftransformer.evaluation import classification_metrics, intervals, multilabel_metrics, tune_threshold


def random_case(seed, rows=200, classes=4, skill=1.0):
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, classes, rows)
    logits = generator.normal(size=(rows, classes))
    logits[np.arange(rows), targets] += skill
    probabilities = np.exp(logits)
    return targets, probabilities / probabilities.sum(-1, keepdims=True), [f"l{i}" for i in range(classes)]


def random_labels(seed, rows=200, classes=4):
    generator = np.random.default_rng(seed)
    targets = (generator.random((rows, classes)) < 0.3).astype(int)
    return targets, 0.6 * generator.random((rows, classes)) + 0.4 * targets, [f"l{i}" for i in range(classes)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classes", [2, 4])
def test_figures_are_scikit_learns(classes, weighted):
    targets, probabilities, labels = random_case(0, classes=classes)
    weight = np.random.default_rng(1).random(len(targets)) if weighted else None
    m = classification_metrics(targets, probabilities, labels, sample_weight=weight)
    predictions = probabilities.argmax(-1)
    assert m["accuracy"] == pytest.approx(sk.accuracy_score(targets, predictions, sample_weight=weight))
    for average in ("micro", "macro", "weighted"):
        figures = sk.precision_recall_fscore_support(targets, predictions, average=average, sample_weight=weight)
        assert list(m[average].values()) == pytest.approx(figures[:3])
    assert m["macro_f1"] == m["macro"]["f1"] and m["weighted_f1"] == m["weighted"]["f1"]
    assert m["loss"] == pytest.approx(sk.log_loss(targets, probabilities, sample_weight=weight))
    if classes == 2:
        area = sk.roc_auc_score(targets, probabilities[:, 1], sample_weight=weight)
    else:
        area = sk.roc_auc_score(targets, probabilities, multi_class="ovr", average="macro", sample_weight=weight)
    assert m["auc"] == pytest.approx(area) and "auc_note" not in m
    assert np.allclose(m["confusion_matrix"], sk.confusion_matrix(targets, predictions, sample_weight=weight))
    report = sk.classification_report(targets, predictions, target_names=labels, output_dict=True, sample_weight=weight)
    for label in labels:
        assert m["per_class"][label] == pytest.approx({k.replace("-score", ""): v for k, v in report[label].items()})


def test_everything_is_plain_json():
    for m in (classification_metrics(*random_case(0)), multilabel_metrics(*random_labels(0))):
        assert json.loads(json.dumps(m, allow_nan=False)) == m


@settings(max_examples=12, deadline=None, database=None)
@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(2, 6))
def test_laws(seed, rows, classes):
    targets, probabilities, labels = random_case(seed, rows, classes)
    m = classification_metrics(targets, probabilities, labels)
    order = np.random.default_rng(seed).permutation(rows)
    shuffled = classification_metrics(targets[order], probabilities[order], labels)
    assert shuffled.pop("loss") == pytest.approx(m["loss"])
    assert shuffled == {key: value for key, value in m.items() if key != "loss"}
    # A weight of two is the row twice.
    weight = np.random.default_rng(seed).integers(1, 3, rows)
    twice = np.repeat(np.arange(rows), weight)
    a = classification_metrics(targets, probabilities, labels, sample_weight=weight)
    b = classification_metrics(targets[twice], probabilities[twice], labels)
    for key in ("accuracy", "macro_f1", "weighted_f1", "loss", "auc"):
        assert a[key] == pytest.approx(b[key])
    assert m["accuracy"] == pytest.approx(np.trace(m["confusion_matrix"]) / rows)
    low, high = m["confidence_interval"]["accuracy"]
    assert 0 <= low <= m["accuracy"] <= high <= 1


def test_an_absent_class_leaves_auc_undefined_and_macro_f1_alone():
    m = classification_metrics([0, 0, 1], np.eye(3)[[0, 0, 1]], ["a", "b", "c"])
    assert m["auc"] is None and m["auc_note"] == "undefined: no text has the label 'c'"
    assert m["macro_f1"] == 1.0 and m["per_class"]["c"]["support"] == 0
    m = classification_metrics([0, 0], np.eye(2)[[0, 0]], ["a", "b"])
    assert m["auc"] is None and "'a'" in m["auc_note"]


def test_certain_and_wrong_costs_a_finite_loss():
    m = classification_metrics([0], [[0.0, 1.0]], ["a", "b"])
    assert m["loss"] == pytest.approx(-np.log(1e-7))


def test_half_precision_probabilities_are_probabilities():
    targets, probabilities, labels = random_case(0)
    classification_metrics(targets, probabilities.astype(np.float16), labels)


@pytest.mark.by_default("5")
@pytest.mark.parametrize("classes", [2, 5])
def test_the_bootstrap_of_kinds_is_the_bootstrap_of_rows(classes):
    targets, probabilities, labels = random_case(3, rows=150, classes=classes)
    low, high = classification_metrics(targets, probabilities, labels)["confidence_interval"]["macro_f1"]
    generator, predictions = np.random.default_rng(9), probabilities.argmax(-1)
    scores = []
    for _ in range(600):
        rows = generator.integers(0, 150, 150)
        scores.append(sk.f1_score(targets[rows], predictions[rows], average="macro"))
    assert [low, high] == pytest.approx(np.quantile(scores, [0.025, 0.975]), abs=0.02)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    generator, covered = np.random.default_rng(0), 0
    for _ in range(1000):
        low, high = intervals.wilson(generator.binomial(120, 0.85), 120)
        covered += low <= 0.85 <= high
    assert 0.93 <= covered / 1000 <= 0.975


def test_wilson_at_the_ends():
    assert intervals.wilson(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    low, high = intervals.wilson(10, 10)
    assert high == 1.0 and low == pytest.approx(0.7225, abs=1e-4)
    assert intervals.wilson(0, 0) == (0.0, 1.0)


def test_the_same_seed_gives_the_same_interval():
    case = random_case(0)
    first, again, other = (
        classification_metrics(*case, seed=seed)["confidence_interval"]["macro_f1"] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_chunks_of_the_bootstrap_do_not_change_its_size(monkeypatch):
    one_hot = np.eye(3)[np.random.default_rng(0).integers(0, 3, 50)]
    monkeypatch.setattr(intervals, "_CHUNK", 150)  # three resamples at once, of which 2,000 is no multiple
    (low, high), _ = intervals.bootstrap_f1(one_hot, one_hot, one_hot)
    assert low == high == 1.0
    assert intervals.bootstrap_f1(one_hot[:0], one_hot[:0], one_hot[:0]) == ((0.0, 1.0), (0.0, 1.0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": [0, 1, 3]}, "targets must be between 0 and 2, the last label; got 3"),
        ({"targets": [0, -1, 2]}, "got -1"),
        ({"targets": [0.0, 1.0, 2.0]}, "targets must be .B,. integers; got float64"),
        ({"targets": [0, 1]}, "one row for each of the 3 rows"),
        ({"probabilities": np.full((3, 2), 0.5)}, r"must be \(B, 3\).*got shape \(3, 2\)"),
        ({"probabilities": np.full((3, 3), 5.0)}, r"must sum to 1 in each row; got 15 \(logits"),
        ({"probabilities": [[2, -1, 0]] * 3}, "must not be negative; got -1"),
        ({"probabilities": [[np.nan, 1, 0]] * 3}, "must be finite; row 0"),
        ({"sample_weight": [1.0, 1.0]}, "sample_weight must be .3,."),
        ({"sample_weight": [1.0, -1.0, 1.0]}, "sample_weight must be"),
        ({"sample_weight": [0.0, 0.0, 0.0]}, "sample_weight must be"),
        ({"targets": [], "probabilities": np.zeros((0, 3))}, "at least one row"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(change, message):
    arguments = {"targets": [0, 1, 2], "probabilities": np.eye(3), "labels": ["a", "b", "c"], **change}
    with pytest.raises(TransformerError, match=message) as error:
        classification_metrics(**arguments)
    assert "\n" not in str(error.value)


def test_several_labels_are_scikit_learns():
    targets, probabilities, labels = random_labels(0)
    m = multilabel_metrics(targets, probabilities, labels, [0.5, 0.4, 0.5, 0.6])
    predicted = probabilities >= [0.5, 0.4, 0.5, 0.6]
    assert m["accuracy"] == m["subset_accuracy"] == pytest.approx(sk.accuracy_score(targets, predicted))
    assert m["hamming_loss"] == pytest.approx(sk.hamming_loss(targets, predicted))
    for average in ("micro", "macro", "weighted"):
        figures = sk.precision_recall_fscore_support(targets, predicted, average=average)
        assert list(m[average].values()) == pytest.approx(figures[:3])
    assert m["micro_f1"] == m["micro"]["f1"]
    assert m["auc"] == pytest.approx(sk.roc_auc_score(targets, probabilities, average="macro"))
    assert m["confusion_matrix"] == sk.multilabel_confusion_matrix(targets, predicted).tolist()
    columns = [sk.log_loss(t, p) for t, p in zip(targets.T, probabilities.T, strict=True)]
    assert m["loss"] == pytest.approx(np.mean(columns))
    for name in ("macro_f1", "micro_f1", "accuracy"):
        low, high = m["confidence_interval"][name]
        assert low < m[name] < high


def test_nobody_has_a_label_and_nobody_is_given_one():
    m = multilabel_metrics(np.zeros((2, 2), int), np.zeros((2, 2)), ["a", "b"])
    assert (m["accuracy"], m["macro_f1"], m["micro_f1"], m["auc"]) == (1.0, 0.0, 0.0, None)


@pytest.mark.parametrize(
    ("targets", "probabilities", "thresholds", "message"),
    [
        ([[0, 2]], [[0.1, 0.2]], 0.5, "of 0 and 1"),
        ([0], [[0.1, 0.2]], 0.5, r"must be \(1, 2\)"),
        ([[0, 1]], [[0.1, 1.2]], 0.5, r"between 0 and 1; got 1.2 \(logits"),
        ([[0, 1]], [[0.1, 0.2]], 1.5, "thresholds must be one number or 2 between 0 and 1; got 1.5"),
        ([[0, 1]], [[0.1, 0.2]], [0.5] * 3, "thresholds must be"),
        ([[0, 1]], [[0.1, 0.2]], float("nan"), "thresholds must be"),
    ],
)
def test_several_labels_that_do_not_fit(targets, probabilities, thresholds, message):
    with pytest.raises(TransformerError, match=message):
        multilabel_metrics(targets, probabilities, ["a", "b"], thresholds)


@pytest.mark.parametrize("average", ["micro", "macro"])
def test_the_tuned_threshold_is_the_best_of_a_fine_grid(average):
    targets, probabilities, _ = random_labels(5, rows=60)
    best = max(
        sk.f1_score(targets, probabilities >= t, average=average, zero_division=0) for t in np.linspace(0, 1, 101)
    )
    threshold = tune_threshold(targets, probabilities, average)
    assert sk.f1_score(targets, probabilities >= threshold, average=average) >= best - 1e-9
    assert 0 <= threshold <= 1


def test_thresholds_at_the_edge():
    assert tune_threshold([[0, 0]], [[0.3, 0.9]]) == 0.5
    assert tune_threshold([[1, 1]], [[0.9, 0.9]]) == 0.5
    assert tune_threshold([[1, 0]], [[0.9, 0.1]]) == 0.5
    many = random_labels(6, rows=2000)
    assert 0.3 < tune_threshold(*many[:2]) < 0.7
    with pytest.raises(TransformerError, match="average must be 'micro' or 'macro'; got 'samples'"):
        tune_threshold([[1]], [[0.5]], "samples")
