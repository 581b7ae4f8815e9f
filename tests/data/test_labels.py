"""Names and ids of labels: the rule, value by value. That all forms of data follow it, tests/tasks/test_label_law.py."""

import numpy as np
import pytest

from tftransformer.data.labels import encode_targets, label_ids, label_name, label_names, named_targets, sort_labels
from tftransformer.data.split import Split
from tftransformer.data.texts import as_split
from tftransformer.errors import TransformerError


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("spam", [" spam\n", b"spam", np.str_("spam"), np.bytes_(b"spam"), "\u00a0spam"]),
        ("1", [1, 1.0, "1", "1.0", " 1.00", b"1.0", np.int8(1), np.float32(1), np.float64(1)]),
        ("0", [0, 0.0, -0.0, "-0.0"]),
        ("0.5", [0.5, "0.5", np.float32(0.5)]),
        ("0.1", [0.1, np.float32(0.1)]),
        ("True", [True, np.True_, "True"]),
        ("true", ["true"]),
        ("01", ["01"]),
        ("nan", ["nan"]),
        ("a", [np.array("a")]),
        (None, [["a"], np.array(["a", "b"]), ("a",), {"a": 1}]),
        (None, [None, "", "  ", float("nan"), float("inf"), np.float32("-inf"), np.float64("nan"), b" "]),
    ],
)
def test_names_of_values(name, values):
    assert [label_name(value) for value in values] == [name] * len(values)


def test_what_other_libraries_call_missing_has_no_name():
    pandas = pytest.importorskip("pandas")
    assert label_name(pandas.NA) is None and label_name(pandas.NaT) is None


@pytest.mark.parametrize(
    ("labels", "value", "found"),
    [
        (("no", "yes"), 1, 1), (("no", "yes"), "1", 1), (("no", "yes"), True, 1), (("no", "yes"), "false", 0),
        (("1", "0"), 1, 0), (("1", "0"), True, 0), (("1", "0"), "FALSE", 1),
        (("true", "false"), True, 0), (("true", "false"), 1, 0), (("True", "False"), "true", 0),
        (("1", "2", "3"), 3, 2), (("1", "2", "3"), "1.0", 0),
        (("a", "b", "c"), 2.0, 2), (("0.5", "1.5"), np.float32(1.5), 1),
        (("True", "true"), "true", 1), (("True", "true"), True, 0), (("1", "other"), 1, 0),
    ],
)  # fmt: skip
def test_a_name_that_is_a_label_else_an_id(labels, value, found):
    assert encode_targets([value], labels).tolist() == [found]


@pytest.mark.parametrize(
    ("labels", "value"),
    [
        (("no", "yes"), 2), (("no", "yes"), -1), (("no", "yes"), 0.5), (("no", "yes"), "01"),
        (("1", "2", "3"), 0), (("1", "2", "3"), True), (("1", "other"), 0), (("true", "maybe", "false"), 1),
        (("a", "b", "c"), True), (("1", "0"), 2),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_its_row(labels, value):
    good = labels[0]
    with pytest.raises(TransformerError, match=r"^y must hold labels among .*; got .* in row 1 \(from 0\)"):
        encode_targets([good, value], labels)


def test_near_misses_are_suggested():
    with pytest.raises(TransformerError, match="got 'aa' in row 0 .*; did you mean 'aaa'"):
        encode_targets(["aa"], ["aaa", "b"])
    with pytest.raises(TransformerError, match="got 'ABBR' in row 0 .*; did you mean 'abbr'"):
        encode_targets(["ABBR"], ["abbr", "b"])


@pytest.mark.parametrize("nothing", [None, " ", float("nan"), float("inf"), np.float32("inf")])
def test_no_label_is_refused_with_its_row(nothing):
    with pytest.raises(TransformerError, match=r"^labels: row 1 \(from 0\) has no label; got "):
        encode_targets(["a", nothing], ["a", "b"])
    with pytest.raises(TransformerError, match=r"^labels: train row 1 \(from 0\) has no label; got "):
        Split(["x", "y"], ["a", nothing])


def test_nan_that_numpy_has_made_a_string_is_no_label():
    with pytest.raises(TransformerError, match=r"row 1 \(from 0\) has no label; got NaN, of which NumPy"):
        encode_targets(np.array(["a", np.nan]), ["a", "nan"])
    assert encode_targets(np.array(["a", "nan"]), ["a", "nan"]).tolist() == [0, 1]


def test_columns_of_numbers():
    assert encode_targets(np.eye(2), ["a", "b"]).tolist() == [0, 1]
    assert encode_targets([[0, 1], [1, 0]], ["a", "b"]).tolist() == [1, 0]
    assert encode_targets(np.array([[1], [0]]), ["a", "b"]).tolist() == [1, 0]
    assert encode_targets(np.array([1, 0]), ["a", "b"]).dtype == "int32"
    matrix = encode_targets(np.array([[1, 0], [1, 1]]), ["a", "b"], True)
    assert matrix.tolist() == [[1, 0], [1, 1]] and matrix.dtype == "float32"
    assert encode_targets([[1, 0], [1, 1]], ["a", "b"], True).tolist() == matrix.tolist()


def test_several_labels():
    assert encode_targets([("b",), ()], ["a", "b"], True).tolist() == [[0, 1], [0, 0]]
    assert encode_targets([[0, 1], []], ["a", "b"], True).tolist() == [[1, 1], [0, 0]]
    assert encode_targets(["b", 0], ["a", "b"], True).tolist() == [[0, 1], [1, 0]]
    assert encode_targets([[2], [1, 3]], ["1", "2", "3"], True).tolist() == [[0, 1, 0], [1, 0, 1]]


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_lists_of_zeros_and_ones_are_no_names(kind):
    for rows in ([[0, 1], [1, 0]], [[True, False]], [[1.0, 0.0, 1.0]] * 2):
        rows = [kind(row) for row in rows]
        with pytest.raises(TransformerError, match="^labels must be names, or lists of names; equally long lists"):
            Split(["a"] * len(rows), rows, multi_label=True)
        with pytest.raises(TransformerError, match="may be columns or ids"):
            as_split(["a"] * len(rows), rows)
    for rows in ([["0", "1"], ["1", "0"]], [[0], [1]], [[0, 1], [1]], [[0, 2], [1, 2]]):
        names = [tuple(map(str, row)) for row in rows]
        assert named_targets([kind(row) for row in rows], True, str) == names


def test_targets_of_a_split_in_a_table():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"y": ["b", "a"], "z": [1, 2]})
    assert Split(["c", "d"], frame[["y"]]).targets == ["b", "a"]
    with pytest.raises(TransformerError, match="^targets must be one column; got a DataFrame of y, z$"):
        Split(["c", "d"], frame)
    for wrong in ("ab", 3, {"y": [1, 2]}):
        with pytest.raises(TransformerError, match="^targets must be labels in a list, an array or a column; got "):
            Split(["c", "d"], wrong)


@pytest.mark.parametrize(
    ("targets", "multi_label", "message"),
    [
        (np.zeros((1, 3)), False, "y must have one column for each of the 2 labels; got 3"),
        (np.array([[0, 1], [0, 0]]), False, "y must have a number other than 0 in the column of its label"),
        (np.array([[0, 1], [np.nan, 0]]), False, r"in each row; got \[nan, 0.0\] in row 1 \(from 0\)"),
        (np.array([[0, 1], [2, 0]]), True, r"y must have numbers from 0 to 1 in each row; got \[2, 0\] in row 1"),
        ([{"a": 1}], False, r"row 0 \(from 0\) has no label; got {'a': 1}"),
        ([["aaa", "b"]], False, r"row 0 \(from 0\) has no label; got \['aaa', 'b'\]"),
    ],
)
def test_bad_targets(targets, multi_label, message):
    with pytest.raises(TransformerError, match=message):
        encode_targets(targets, ["aaa", "b"], multi_label)


def test_classes_as_a_user_gives_them():
    assert label_names(np.array([2.0, 1.0])) == ("2", "1") and label_names([False, True]) == ("False", "True")
    assert label_ids(label_names(["1.0", "2.0"])) == {"1": 0, "2": 1}


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (6, "labels must be the names of the classes, in a list; got 6"),
        ("abc", "labels must be the names of the classes, in a list; got 'abc'"),
        ({"a": 0, "b": 1}, "labels must be the names of the classes, in a list; got {'a'"),
        ({"a", "b"}, "labels must be the names of the classes, in a list; got {"),
        (["a"], "labels must be at least two different names"),
        (["1", 1.0], "labels must be at least two different names"),
        (["a", None], "labels must be names; got None"),
        (["a", float("nan")], "labels must be names; got nan"),
    ],
)
def test_bad_classes(labels, message):
    with pytest.raises(TransformerError) as error:
        label_names(labels)
    assert str(error.value).startswith(message)


def test_splits_hold_names():
    assert Split(["a", "b", "c"], [1.0, "2.0", 3]).labels == ("1", "2", "3")
    assert Split(["a", "b"], np.array([True, False])).targets == ["True", "False"]
    assert Split(["a", "b"], [[2, "x"], []], multi_label=True).targets == [("2", "x"), ()]
    with pytest.raises(TransformerError, match=r"an array of shape \(2, 2\) has none"):
        Split(["a", "b"], np.eye(2))
    assert named_targets([{"b", "a"}], True, str) == [("a", "b")]
    assert sort_labels(["10", "9", "10"]) == ("9", "10")
