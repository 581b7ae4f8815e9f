"""The drift report: silent about texts of the same kind, clear about others."""

import keras
import numpy as np
import pytest

from tftransformer.data import Split
from tftransformer.errors import TransformerError
from tftransformer.evaluation.two_samples import Comparison
from tftransformer.runs.drift import DriftReport, Measure, drift_report, report_run
from tftransformer.tasks import TextClassifier


@pytest.fixture(scope="module")
def classifier(tiny_preset):
    keras.utils.set_random_seed(0)
    classifier = TextClassifier.from_preset(tiny_preset, labels=("negative", "positive"), sequence_length=16)
    classifier.run_eagerly = True
    return classifier


def test_texts_of_the_same_kind_do_not_drift(classifier, reviews):
    texts = reviews[0]
    report = drift_report(texts[:30], texts[45:], classifier, held_out=texts[30:45], splits=120)
    assert report.drifted == () and report.terms == () and report.rows == (30, 15, 15)
    assert "Nothing is beyond noise." in str(report) and "held out" in str(report)


def test_other_texts_do_and_the_report_says_how(classifier, reviews, tmp_path):
    others = [f"{text} 0123456789 漢字 terrific" for text in reviews[0][:20]]
    report = drift_report(Split(*reviews), others, classifier, splits=120)
    assert {"length in tokens", "unknown tokens", "tokens used", "vectors"} <= set(report.drifted)
    assert "terrific" in [term.term for term in report.terms]
    text = str(report)
    assert "DRIFTED" in text and "No texts were held out" in text and max(map(len, text.splitlines())) <= 110
    shares = [[row[side] for row in report.labels] for side in (1, 2)]
    assert [sum(side) for side in shares] == [pytest.approx(1.0)] * 2
    predicted = classifier.predict(others, verbose=0).argmax(axis=1)
    assert shares[1][1] == pytest.approx(np.mean(predicted))
    report.plot(tmp_path / "drift.png")
    assert (tmp_path / "drift.png").stat().st_size > 5000
    assert report.to_dict()["measures"][0]["comparison"]["p_value"] == pytest.approx(1 / 121)


def test_confidence_is_that_of_predict_and_one_seed_gives_one_report(classifier, reviews):
    texts = reviews[0]
    reports = [drift_report(texts[:40], texts[40:], classifier, splits=120, seed=3) for _ in range(2)]
    assert reports[0] == reports[1]
    confidence = next(m for m in reports[0].measures if m.name == "confidence")
    assert confidence.new == f"{classifier.predict(texts[40:], verbose=0).max(axis=1).mean():.3f}"


@pytest.mark.slow
def test_several_labels_and_pairs(tiny_preset, reviews):
    pairs = list(zip(reviews[0], reviews[0][::-1]))
    classifier = TextClassifier.from_preset(tiny_preset, labels=("a", "b", "c"), multi_label=True)
    report = drift_report(pairs[:40], pairs[40:], classifier, splits=120)
    assert len(report.labels) == 3 and len(report.measures) == 6 and report.drifted == ()


def test_many_labels_are_cut_to_those_that_changed(reviews):
    found = Measure("confidence", "0.9", "0.8", Comparison(0.1, 0.2, 0.5), False)
    labels = tuple((f"label {i}", 0.05, 0.05 + i / 1000) for i in range(20))
    text = str(DriftReport((found,), labels, (), (9, 9, 9), 120))
    assert "label 19" in text and "label 7 " not in text and "8 labels that changed less" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(train_texts=["a"]), "train_texts must hold at least 2 texts; got 1"),
        (dict(classifier=keras.Sequential()), "classifier must be a TextClassifier; got Sequential"),
        (dict(new_texts=["a"]), "new_texts must hold at least 2 texts; got 1"),
        (dict(held_out=["a"]), "held_out must hold at least 2"),
        (dict(splits=5), "splits must be at least 120; got 5"),
        (dict(max_texts=1), "max_texts must be at least 2; got 1"),
        (dict(new_texts=[("a", "b"), ("c", "d")]), "single texts"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, classifier):
    given = {"train_texts": ["a"] * 9, "new_texts": ["b"] * 9, "classifier": classifier, **arguments}
    with pytest.raises(TransformerError, match=message):
        drift_report(**given)


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(TransformerError, match="model must be given"):
        report_run("", "x.txt")
    with pytest.raises(TransformerError, match="does not exist"):
        report_run(tmp_path / "none", "x.txt")
