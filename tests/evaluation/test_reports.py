"""report.txt, metrics.json's section, and predictions.csv."""

import csv
import io
import json

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import Report, classification_metrics, multilabel_metrics, write_predictions
from tftransformer.evaluation.reports import _width, join_labels

TARGETS = [0, 0, 0, 1, 1, 2]
PROBABILITIES = np.eye(3)[[0, 0, 1, 1, 1, 2]] * 0.7 + 0.1
LABELS = ["财经新闻", "a label so long that no table would want to hold all of it", "c\nd"]


def report(labels=("x", "y", "z"), baseline=True):
    m = classification_metrics(TARGETS, PROBABILITIES, labels)
    return Report(m, labels, dict(m, name="TF-IDF", accuracy=0.5, macro_f1=0.25) if baseline else None)


def test_the_whole_report():
    text = str(report())
    rows = [line.split() for line in text.splitlines()]
    assert text.startswith("Test: 6 texts, 3 classes\n")
    assert ["precision", "recall", "F1", "support"] in rows
    assert ["x", "1.0000", "0.6667", "0.8000", "3"] in rows
    assert ["y", "0.6667", "1.0000", "0.8000", "2"] in rows
    assert ["micro", "average", "0.8333", "0.8333", "0.8333", "6"] in rows
    assert ["macro", "average", "0.8889", "0.8889", "0.8667", "6"] in rows
    assert ["weighted", "average", "0.8889", "0.8333", "0.8333", "6"] in rows
    assert ["difference", "+0.3333", "+0.6167"] in rows
    assert ["1", "x", "2", "1", "0"] in rows
    assert any(row[:2] == ["accuracy", "0.8333"] and row[2].startswith("(0.43") for row in rows)


@pytest.mark.parametrize("labels", [("x", "y", "z"), LABELS])
def test_columns_stand_below_each_other(labels):
    table = str(report(labels)).split("\n\n")[1].splitlines()
    assert len({_width(line) for line in table}) == 1
    assert _width(table[0]) < 90 and len(table) == 4


def test_widths_of_characters():
    assert [_width(t) for t in ("abc", "財経", "e\u0301", "ｱ", "한글")] == [3, 4, 1, 1, 4]


def test_without_a_baseline_there_is_no_comparison():
    assert "difference" not in str(report(baseline=False))
    assert report(baseline=False).to_dict()["baseline"] is None


def test_to_dict_is_the_test_section():
    section = report().to_dict()
    assert {
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "auc",
        "loss",
        "per_class",
        "confidence_interval",
        "baseline",
    } <= set(section)
    assert section["baseline"]["name"] == "TF-IDF"
    json.dumps(section, allow_nan=False)
    assert report()["accuracy"] == section["accuracy"]
    assert repr(report()) == "Report(accuracy=0.8333, macro_f1=0.8667)"


def test_many_classes_have_no_matrix_and_an_absent_one_its_reason():
    labels = [str(i) for i in range(13)]
    text = str(Report(classification_metrics([0, 1], np.eye(13)[[0, 1]], labels)))
    assert "Confusion matrix" not in text and "undefined: no text has the label '2'" in text


def test_several_labels():
    m = multilabel_metrics([[1, 0], [1, 1], [0, 0]], [[0.9, 0.2], [0.8, 0.4], [0.1, 0.1]], ["a", "b"], 0.5)
    text = str(Report(m, baseline=m, title="Validation"))
    assert text.startswith("Validation: 3 texts, 2 classes") and "Hamming" in text and "threshold" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["micro", "average", "1.0000", "0.6667", "0.8000", "3"] in rows
    assert ["difference", "+0.0000", "+0.0000", "+0.0000"] in rows


def test_weights_give_fractional_support():
    m = classification_metrics([0, 1], np.eye(2), ["a", "b"], sample_weight=[0.5, 2.0])
    assert " 0.5\n" in str(Report(m)) and " 2.5\n" in str(Report(m))


def test_other_labels_are_refused():
    with pytest.raises(TransformerError, match="labels must be those of the metrics"):
        Report(classification_metrics(TARGETS, PROBABILITIES, ["x", "y", "z"]), ["x", "z", "y"])


def read(path):
    assert not path.read_bytes().startswith(b"\xef\xbb\xbf")
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file, strict=True))


def test_predictions_round_trip(tmp_path):
    texts = ['say "hi", you', "=SUM(A1)", "two\r\nlines\rthree", "", "naïve 财经", "@x"]
    write_predictions(tmp_path / "p.csv", texts, list("abcabc"), list("abcabd"), [0.5, 1, 0.25, 0, 1 / 3, 0.9])
    rows = read(tmp_path / "p.csv")
    assert rows[0] == ["text", "label", "prediction", "probability"]
    assert [row[0] for row in rows[1:]] == texts
    assert rows[5][1:] == ["b", "b", "0.333333"]
    assert (tmp_path / "p.csv").read_bytes().count(b"\r\n") == 8


def test_predictions_of_pairs_without_truth_from_all_probabilities(tmp_path):
    write_predictions(tmp_path / "p.csv", [("a", "b"), ("c", "")], None, ["x", "y"], np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert read(tmp_path / "p.csv") == [
        ["text", "text_pair", "label", "prediction", "probability"],
        ["a", "b", "", "x", "0.900000"],
        ["c", "", "", "y", "0.800000"],
    ]


def test_predictions_of_several_labels(tmp_path):
    write_predictions(tmp_path / "p.csv", ["t", "u"], [("a", "b"), ()], [("a",), ("a", "b")], [(0.75,), (0.5, 0.625)])
    assert read(tmp_path / "p.csv")[1:] == [["t", "a|b", "a", "0.750000"], ["u", "", "a|b", "0.500000|0.625000"]]


def test_predictions_of_several_labels_from_all_probabilities(tmp_path):
    everything = np.array([[0.5, 0.1, 0.75], [0.1, 0.2, 0.3]])
    write_predictions(tmp_path / "p.csv", ["t", "u"], None, [("a", "c"), ()], everything)
    assert [row[2:] for row in read(tmp_path / "p.csv")[1:]] == [["a|c", "0.500000|0.750000"], ["", ""]]


def test_names_that_hold_the_delimiter_are_quoted_as_csv_does():
    def read_back(cell):
        return next(csv.reader(io.StringIO(cell, newline=""), delimiter="|"))

    names = ("plain", "a|b", '"quoted"', 'a "b', "two\nlines", "x\r", "a,b", "|", '"')
    assert read_back(join_labels(names)) == list(names)
    assert [read_back(join_labels((name,))) for name in names] == [[name] for name in names]
    assert [join_labels(name) for name in names] == list(names)  # one label is no list
    assert (join_labels(("a", "b")), join_labels(("a|b", "c"), ";"), join_labels(())) == ("a|b", "a|b;c", "")


def test_no_text_at_all(tmp_path):
    write_predictions(tmp_path / "p.csv", [], [], [], [])
    assert read(tmp_path / "p.csv") == [["text", "label", "prediction", "probability"]]


def test_predictions_that_do_not_fit(tmp_path):
    with pytest.raises(TransformerError, match="must be equally long; got 1, 2, 1"):
        write_predictions(tmp_path / "p.csv", ["a"], None, ["x", "y"], [0.5])
    with pytest.raises(TransformerError, match="row 0 has 1 for 2"):
        write_predictions(tmp_path / "p.csv", ["a"], None, [("x", "y")], [(0.5,)])
    assert not list(tmp_path.iterdir())
