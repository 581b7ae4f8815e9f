"""Predictions are drawn for any number of numbers, quietly."""

import warnings

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import regression_plots
from tftransformer.evaluation.regression_plots import plot_predictions

generator = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("shape", [(300,), (300, 1), (300, 4)])
def test_a_png_is_written(tmp_path, shape):
    targets = generator.integers(2, 11, shape) / 2
    plot_predictions(targets, targets + generator.normal(0, 0.5, shape), tmp_path / "x.png")
    data = (tmp_path / "x.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to be looked into."""
    figures = []
    monkeypatch.setattr(regression_plots, "save", lambda figure, _: figures.append(figure))
    return figures


def test_titles_say_how_good_each_number_is(drawn):
    targets = np.array([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    plot_predictions(targets, targets + [[0.5, 1.0], [0.5, 2.0], [0.5, 3.0]], "x.png", ["$5", "星"], title="Test")
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles[0] == "$5\nPearson 1.000, MAE 0.5" and titles[1].endswith("\nPearson undefined, MAE 2")
    assert drawn[0].get_suptitle() == "Test"


def test_six_panels_at_most(drawn):
    targets = generator.normal(size=(20, 9))
    plot_predictions(targets, targets, "x.png", [str(k) for k in range(9)])
    assert len(drawn[0].axes) == 6 and drawn[0].get_suptitle() == "the first 6 of 9 numbers"


def test_both_axes_have_one_range_and_crowds_are_pale(drawn):
    targets = np.r_[np.zeros(400), 100.0]
    plot_predictions(targets, targets, "x.png")
    (axes,) = drawn[0].axes
    assert axes.get_xlim() == axes.get_ylim() and axes.get_xlim()[0] < 0 and axes.get_xlim()[1] > 100
    plot_predictions([1.0, 2.0], [2.0, 1.0], "x.png")
    crowded, apart = (figure.axes[0].collections[0].get_alpha() for figure in drawn)
    assert crowded < 0.2 < 0.7 < apart


@pytest.mark.parametrize("rows", [1, 5])
def test_constant_numbers(drawn, rows):
    plot_predictions([3.0] * rows, [3.0] * rows, "x.png")
    assert drawn[0].axes[0].get_title() == "Pearson undefined, MAE 0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 2], [1], "x.png"), r"must have one shape .*got shapes \(2,\) and \(1,\)"),
        (([], [], "x.png"), "at least one number"),
        (([1], ["a"], "x.png"), "predictions must hold numbers; got 'a' in row 0"),
        (([1], [1], "x.png", ["a", "b"]), r"names must be 1, one a number; got \['a', 'b'\]"),
        (([1], [1], "no/x.png"), "cannot write .*x.png"),
    ],
)
def test_errors(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TransformerError, match=message):
        plot_predictions(*arguments)
    assert not list(tmp_path.iterdir())
