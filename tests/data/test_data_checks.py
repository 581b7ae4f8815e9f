import json

import numpy as np
import pytest

from tftransformer.data.checks import check, drop_leaked
from tftransformer.data.dedup import normalize_for_dedup
from tftransformer.data.loading import load
from tftransformer.data.split import Split, Splits
from tftransformer.data.tagged import TaggedSplit, TaggedSplits
from tftransformer.errors import TransformerError

hypothesis = pytest.importorskip("hypothesis")
given, st = hypothesis.given, hypothesis.strategies


def splits(train, validation=None, test=None):
    def split(rows, name):
        return rows and Split([t for t, _ in rows], [label for _, label in rows], name)

    return Splits(split(train, "train"), split(validation, "validation"), split(test, "test"))


def test_counts_of_a_split():
    train = [("a b c", "x"), ("A  b C", "x"), ("", "y"), (" \n", "y"), ("d", "x"), ("d", "y"), ("e", "x")]
    report = check(splits(train)).splits["train"]
    assert report.rows == 7 and report.labels == {"x": 4, "y": 3} and report.imbalance == pytest.approx(4 / 3)
    assert report.empty == 2 and report.duplicates == 3 and report.conflicting == 1
    assert report.words["50"] == 1 and report.words["100"] == 3 and report.tokens is None


def test_leaks_are_found_after_folding():
    data = splits(
        [("One", "x"), ("two", "y"), ("ONE ", "x"), ("three", "x")],
        [("tWo", "x"), ("four", "y"), ("five", "x")],
        [("one", "x"), ("Four", "y"), ("six", "x")],
    )
    report = check(data)
    assert {k: (v.rows, v.texts, v.conflicting) for k, v in report.leaks.items()} == {
        "train/validation": (1, 1, 1),
        "train/test": (2, 1, 0),
        "validation/test": (1, 1, 0),
    }
    assert report.leaked_train_indices == [0, 1, 2] and report.leaked_validation_indices == [1]
    assert report.conflicting == 1 and report.conflict_examples == ["'two' [x, y]"]
    text = str(report)
    assert "LEAK: 2 train rows (1 text) also in test\n      'one'" in text
    assert "LEAK: 1 train row (1 text) also in validation, 1 with other labels there" in text


def test_pairs_leak_only_with_both_sides():
    train = Split([("a", "b"), ("C", "d"), ("", "")], ["x", "y", "x"])
    report = check(Splits(train, None, Split([("c", "D "), ("a", "x"), ("ab", "")], ["y", "x", "x"], "test")))
    assert report.leaks["train/test"].rows == 1 and report.leaked_train_indices == [1]
    assert report.splits["train"].empty == 1


def test_tokens_and_truncation():
    data = splits([(f"w{i}", "xy"[i % 2]) for i in range(10)])
    report = check(data, {"train": np.arange(1, 11)}, sequence_length=8)
    assert report.splits["train"].tokens["100"] == 10 and report.splits["train"].truncated == 0.2
    assert "20.0% longer than sequence_length 8" in str(report)
    with pytest.raises(TransformerError, match="one number for each of the 10 rows of train; got 2"):
        check(data, {"train": [1, 2]})
    with pytest.raises(TransformerError, match="one number for each of the 0 rows of test; got 1"):
        check(data, {"test": [1]})


def test_many_labels_and_unlabelled_rows():
    train = Split(["a", "b", "b"], [("x", "y"), (), ("y",)], multi_label=True)
    report = check(Splits(train, None, None))
    assert report.splits["train"].labels == {"x": 1, "y": 2} and report.splits["train"].unlabelled == 1
    assert report.conflict_examples == ["'b' [none, y]"]
    assert "1 unlabelled row" in str(report)


def test_a_label_missing_from_a_split_is_shown():
    report = check(splits([("a", "x"), ("b", "y")], None, [("c", "x")]))
    assert report.splits["test"].labels == {"x": 1, "y": 0}
    assert "a label is missing" in str(report) and "no text is in two splits" in str(report)
    assert report.to_dict()["splits"]["test"]["imbalance"] is None


def test_to_dict_is_plain_json():
    report = check(splits([("a", "x"), ("b", "y")], None, [("a", "x")]), {"train": np.array([3, 4])}, 2)
    values = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert values["leaks"]["train/test"]["rows"] == 1 and values["splits"]["train"]["truncated"] == 1.0
    assert "leaked_train_indices" not in values


ROWS = st.lists(st.tuples(st.sampled_from(["a", "A ", "b", "c", "d", "e", "f"]), st.sampled_from("xy")), max_size=8)


@given(ROWS, ROWS, ROWS)
def test_dropping_leaves_no_leak_and_touches_only_leaked_rows(train, validation, test):
    data = splits([*train, ("p", "x"), ("q", "y")], [*validation, ("r", "x")], [*test, ("s", "x")])
    clean = drop_leaked(data)
    assert clean.test == data.test and not check(clean).leaks
    held_out = {normalize_for_dedup(t) for s in (data.validation, data.test) for t in s.texts}
    kept = [
        row
        for row in zip(data.train.texts, data.train.targets, strict=True)
        if normalize_for_dedup(row[0]) not in held_out
    ]
    assert list(zip(clean.train.texts, clean.train.targets, strict=True)) == kept
    tested = {normalize_for_dedup(t) for t in data.test.texts}
    assert clean.validation.texts == [t for t in data.validation.texts if normalize_for_dedup(t) not in tested]


def test_dropping_never_leaves_nothing():
    with pytest.raises(TransformerError, match="fewer than 2 classes to train on"):
        drop_leaked(splits([("a", "x"), ("b", "y")], None, [("a", "x")]))
    with pytest.raises(TransformerError, match="no training row of label 'z'"):
        drop_leaked(splits([("a", "x"), ("b", "y"), ("c", "z")], None, [("c", "z")]))
    with pytest.raises(TransformerError, match="leaves no validation row"):
        drop_leaked(splits([("a", "x"), ("b", "y")], [("c", "x")], [("c", "x")]))


def test_long_examples_are_shortened():
    report = check(splits([("long " * 50, "x"), ("b", "y")], None, [("long " * 50, "x")]))
    assert max(map(len, str(report).splitlines())) < 110


def warnings_of(labels, **options):
    return check(Splits(Split(["a text"] * len(labels), labels, **options), None, None)).label_warnings


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        ([str(i / 2) for i in range(40)], "all 40 are numbers, 0 to 19.5, and each is a class"),
        (["NUM", "SHORT", "NUM|SHORT"], "'NUM|SHORT' reads like several labels; if so, set label_delimiter to '|'"),
        (["a;b", "b; c", "a;c"], "'a;b', 'a;c', 'b; c' read like several labels; if so, set label_delimiter to ';'"),
        (["x", "nan", "nan"], "'nan' (2 rows) reads like a missing label, and is a class"),
        (["x", "None"], "'None' (1 row) reads like a missing label"),
        (["ABBR", "abbr", "x"], "'ABBR' and 'abbr' differ in case or space alone, and are 2 classes"),
        (["New  York", "new york"], "'New  York' and 'new york' differ in case or space alone"),
    ],
)
def test_odd_labels_are_named_in_a_line_each(labels, line):
    (warning,) = warnings_of(labels)
    assert line in warning and "\n" not in warning
    report = check(Splits(Split(["a"] * len(labels), labels), None, None))
    assert f"  LABELS: {warning}" in str(report).splitlines()


@pytest.mark.parametrize(
    ("labels", "options"),
    [
        ([str(i) for i in range(11)], {}),
        (["Surgery, general", "Surgery, oral", "Dermatology"], {}),
        (["a|", "a"], {}),
        ([("a|b",), ("a", "b")], {"multi_label": True}),
        (["positive", "negative", "neutral"], {}),
    ],
)
def test_usual_labels_are_not(labels, options):
    assert warnings_of(labels, **options) == []


def test_texts_that_nobody_can_see_are_counted():
    rows = ["", " \n", "\u200b", "\x00\u00ad", ".", "\U0001f600", "é"]
    report = check(Splits(Split(rows, ["x", "y"] * 3 + ["x"]), None, None))
    assert report.splits["train"].empty == 4 and "4 empty rows" in str(report)
    pairs = Split([("a", ""), ("\u200b", "b"), ("", ""), ("a", "b")], list("xyxy"))
    found = check(Splits(pairs, None, None)).splits["train"]
    assert (found.empty, found.one_sided) == (1, 2)


def test_the_columns_of_files_are_told(tmp_path):
    path = tmp_path / "f.csv"
    path.write_text("subject,body,queue\n" + "".join(f"s{i},b{i},{'xy'[i % 2]}\n" for i in range(20)))
    found = load(path, text_columns="body", label_column="queue")
    assert found.train.columns == {"text": ("body",), "label": ("queue",), "unused": ("subject",)}
    report = check(found)
    lines = [line.strip() for line in str(report).splitlines() if line.strip().startswith("columns")]
    assert lines == ["columns  text: body, label: queue, unused: subject"]
    assert report.to_dict()["splits"]["test"]["columns"]["unused"] == ("subject",)


def test_tagged_sentences_that_leak_are_told_and_left_out():
    train = TaggedSplit.from_words([["to", "Rome"], ["at", "home"]], [["O", "B-PLACE"], ["O", "B-PLACE"]])
    test = TaggedSplit.from_words([["To", "rome"]], [["O", "O"]], name="test")
    splits = TaggedSplits(train, None, test)
    report = check(splits)
    assert report.leaks["train/test"].rows == 1 and report.leaked_train_indices == [0]
    assert "B-PLACE 2" in str(report)
    left = drop_leaked(splits)
    assert left.train == train.take([1]) and left.validation is None and left.test == test
