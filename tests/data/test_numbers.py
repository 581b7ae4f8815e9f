"""Numbers are read from whatever holds them, and everything else is refused in one line with its row."""

from decimal import Decimal

import numpy as np
import pytest

from tftransformer.data.numbers import Standardizer, as_numbers
from tftransformer.errors import TransformerError


class Table:
    """What a DataFrame shows of itself."""

    def __init__(self, **columns):
        self._columns, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return self._columns[name]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", " 2.5 ", "-3e2", ".5", "4."], [1, 2.5, -300, 0.5, 4]),
        ([1, 2.0, np.float32(3), Decimal("0.5"), b"7"], [1, 2, 3, 0.5, 7]),
        (np.array([1, 2], "int64"), [1, 2]),
        (np.array(["1", "2.5"]), [1, 2.5]),
        (np.array(["1", 2], object), [1, 2]),
        ((1, 2), [1, 2]),
        ([[1, "2"], (3, 4)], [[1, 2], [3, 4]]),
        ([np.array([1, 2]), np.array([3, 4])], [[1, 2], [3, 4]]),
        (np.ones((2, 1)), [[1], [1]]),
        (Table(a=[1, 2], b=["3", "4"]), [[1, 3], [2, 4]]),
        ([], []),
    ],
)
def test_what_is_read(values, expected):
    result = as_numbers(values, "y")
    assert result.dtype == np.float32 and result.tolist() == np.array(expected, "float32").tolist()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, float("nan")], r"y must hold finite numbers; got nan in row 1 \(from 0\)"),
        (np.array([[1.0, np.inf]]), r"finite numbers; got inf in row 0 \(from 0\), number 1 \(from 0\)"),
        ([1, "3,5"], r"got '3,5' in row 1 \(from 0\); write 3.5, with a decimal point"),
        (["1,234,567"], "got '1,234,567' in row 0 .*; write no commas"),
        (["1_000"], "y must hold numbers; got '1_000' in row 0"),
        (["1", "nan"], "must hold numbers; got 'nan' in row 1"),
        ([1, "five"], "got 'five' in row 1"),
        ([1, ""], "got '' in row 1"),
        ([1, None], "got None in row 1"),
        ([True, False], "got True in row 0"),
        (np.array([True]), "got True in row 0"),
        ([1 + 2j], r"got \(1\+2j\) in row 0"),
        (np.array(["2020-01-01"], "datetime64[D]"), "got 2020-01-01 in row 0"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "got nan in row 1"),
        ([1e39], "numbers that float32 can hold; got 1e"),
        ([10**400], "numbers that a float can hold; got a larger one in row 0"),
        ([[1, 2], [3]], r"2 numbers in each row, as in the first; got \[3\] in row 1"),
        ([[1, 2], 3], "2 numbers in each row, as in the first; got 3 in row 1"),
        ([1, [2, 3]], r"one number in each row; got \[2, 3\] in row 1"),
        ([[1, [2]]], r"must hold numbers; got \[2\] in row 0 \(from 0\), number 1"),
        ("12", "must be numbers in a list, an array or a column; got '12'"),
        ({"a": 1}, "must be numbers in a list, an array or a column"),
        (5, "must be numbers in a list, an array or a column; got 5"),
        (np.zeros((2, 2, 2)), r"must be \(B,\) or \(B, K\) numbers; got shape \(2, 2, 2\)"),
        (Table(a=[1, "x"]), "y: column 'a' must hold numbers; got 'x' in row 1"),
        (Table(), "must be columns of one number a row"),
    ],
)
def test_what_is_refused(values, message):
    with pytest.raises(TransformerError, match=message) as caught:
        as_numbers(values, "y")
    assert "\n" not in str(caught.value)


def test_more_digits_on_demand():
    assert as_numbers([16777217], "y", dtype="float64")[0] == 16777217


@pytest.mark.parametrize("shape", [(50,), (50, 1), (50, 3)])
def test_standardized_numbers_have_mean_0_and_scale_1_and_come_back(shape):
    values = np.random.default_rng(0).normal(300.0, 7.0, shape).astype("float32")
    standardizer = Standardizer.of(values)
    encoded = standardizer.encode(values)
    assert encoded.dtype == np.float32 and encoded.shape == shape
    np.testing.assert_allclose(encoded.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(encoded.std(0), 1, atol=1e-5)
    np.testing.assert_allclose(standardizer.decode(encoded), values, rtol=1e-6)


def test_a_constant_column_has_scale_1():
    standardizer = Standardizer.of([[0.1, 1], [0.1, 3], [0.1, 5]])
    assert standardizer.scale[0] == 1 and standardizer.mean[0] == 0.1
    assert standardizer.encode([[0.1, 3]]).tolist() == [[0, 0]]


def test_a_standardizer_is_plain_data():
    standardizer = Standardizer(3, 2.0)
    assert standardizer == Standardizer((3.0,), (2.0,)) and hash(standardizer)
    assert Standardizer(np.array([1.0]), [2]).mean == (1.0,)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Standardizer((1, 2), (1,)), "mean and scale must hold one number for each column; got 2 and 1"),
        (lambda: Standardizer((), ()), "got 0 and 0"),
        (lambda: Standardizer(0, 0), "scale must be above 0; got 0.0"),
        (lambda: Standardizer(float("nan"), 1), "mean must hold finite numbers"),
        (lambda: Standardizer.of([]), "targets must hold at least one row; got none"),
        (lambda: Standardizer.of(["x"]), "targets must hold numbers; got 'x'"),
        (lambda: Standardizer(0, 1).encode([[1, 2]]), "values must have 1 numbers in each row; got 2"),
        (lambda: Standardizer((0, 0), (1, 1)).decode([1.0]), "values must have 2 numbers in each row; got 1"),
    ],
)
def test_wrong_standardizers(call, message):
    with pytest.raises(TransformerError, match=message):
        call()
