"""The pictures are drawn for every kind of input, quietly, and touch nothing global."""

import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation import plot_confusion_matrix, plot_curves, plot_roc, plots
from tftransformer.evaluation.plots import plot_comparison

generator = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def size(path):
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and [p.name for p in path.parent.iterdir()] == [path.name]
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


@pytest.mark.parametrize("classes", [1, 2, 6, pytest.param(60, marks=pytest.mark.slow)])
def test_confusion_matrix(tmp_path, classes):
    matrix = generator.integers(0, 2000, (classes, classes)) * (generator.random((classes, classes)) < 0.2)
    plot_confusion_matrix(tmp_path / "x.png", matrix, [f"label {i}" for i in range(classes)])
    width, height = size(tmp_path / "x.png")
    assert 300 < width < 3500 and 300 < height < 3500


def test_labels_of_any_kind(tmp_path):
    labels = ["财经", "$\\frac$", "_hidden", "a\nb", "", "x" * 200, "🙂"]
    plot_confusion_matrix(tmp_path / "x.png", np.eye(7) * 0.5, labels)
    plot_roc(tmp_path / "x.png", np.arange(7), np.eye(7), labels)
    assert size(tmp_path / "x.png")[0] < 2500


def test_several_labels(tmp_path):
    plot_confusion_matrix(tmp_path / "x.png", np.arange(12).reshape(3, 2, 2), ["a", "b", "c"])
    plot_roc(tmp_path / "x.png", [[1, 0], [1, 1], [0, 1]], generator.random((3, 2)), ["a", "b"])
    size(tmp_path / "x.png")


@pytest.mark.parametrize("classes", [2, 6, 60])
def test_roc(tmp_path, classes):
    targets = np.r_[np.arange(classes), generator.integers(0, classes, 200)]
    plot_roc(
        tmp_path / "x.png",
        targets,
        generator.dirichlet(np.ones(classes), len(targets)),
        [str(i) for i in range(classes)],
    )
    size(tmp_path / "x.png")


def test_roc_of_absent_classes(tmp_path):
    plot_roc(tmp_path / "x.png", [0, 0, 1], np.eye(6)[[0, 1, 1]], list("abcdef"))
    plot_roc(tmp_path / "x.png", [0, 0], np.eye(2)[[0, 1]], ["a", "b"])
    size(tmp_path / "x.png")


@pytest.mark.parametrize(
    "history",
    [
        {"loss": [1.0], "val_loss": [0.9]},
        {"loss": list(np.linspace(2, 1, 50)), "accuracy": [0.5] * 50, "learning_rate": [1e-3] * 50},
        {"loss": [float("nan"), float("inf"), 1.0], "val_macro_f1": [None, None, 0.5]},
        [{"epoch": 1, "loss": 1.0, "val_loss": 1.0, "note": "x"}, {"epoch": 2, "loss": 0.5}],
        {name: [1.0, 2.0] for name in ("loss", "a", "b", "c", "val_d")},
    ],
)
def test_curves(tmp_path, history):
    plot_curves(tmp_path / "x.png", history)
    size(tmp_path / "x.png")


def test_pyplot_and_the_backend_are_left_alone(tmp_path):
    code = (
        "import sys; from tftransformer.evaluation import plot_curves;"
        "plot_curves(sys.argv[1], {'loss': [1.0, 0.5]}); assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "x.png"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda p: plot_confusion_matrix(p, np.eye(2), ["a"]), r"confusion must be \(1, 1\).*got shape \(2, 2\)"),
        (lambda p: plot_roc(p, [0], np.eye(2), ["a", "b"]), "targets and probabilities must be"),
        (lambda p: plot_curves(p, {"epoch": [1]}), r"history must hold at least one curve; got \['epoch'\]"),
        (lambda p: plot_curves(p.parent / "no" / "x.png", {"loss": [1]}), "cannot write .*x.png: No such file"),
    ],
)
def test_errors(tmp_path, draw, message):
    with pytest.raises(TransformerError, match=message):
        draw(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def drawn(monkeypatch):
    """The figures that are saved, to be looked into."""
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, _: figures.append(figure))
    return figures


def test_titles_say_what_was_evaluated(tmp_path, drawn):
    title = "tickets_1: 210 test texts, accuracy 0.810, $5"
    plot_confusion_matrix(tmp_path / "x.png", np.eye(2), ["a", "b"], title=title)
    plot_roc(tmp_path / "x.png", [0, 1], np.eye(2), ["a", "b"], title=title)
    plot_curves(tmp_path / "x.png", {"loss": [1.0, 0.5]}, title=title)
    plot_curves(tmp_path / "x.png", {"loss": [1.0]}, title=title)
    assert [figure.get_suptitle() for figure in drawn] == [title] * 4
    plot_curves(tmp_path / "x.png", {"loss": [1.0, 0.5]})
    assert drawn[-1].get_suptitle() == ""


def test_the_legend_has_the_texts_of_each_label(tmp_path, drawn):
    plot_roc(tmp_path / "x.png", [0, 0, 1, 2], np.eye(3)[[0, 0, 1, 2]], ["a", "b", "c"])
    (axes,) = drawn[0].axes
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown[1:4] == ["1.000  a (2)", "1.000  b (1)", "1.000  c (1)"]


def test_one_epoch_is_a_table(tmp_path, drawn):
    plot_curves(tmp_path / "x.png", {"accuracy": [0.25], "loss": [1.5], "val_loss": [1.25]})
    (axes,) = drawn[0].axes
    assert not axes.get_lines()
    cells = axes.tables[0].get_celld()
    assert {place: cell.get_text().get_text() for place, cell in cells.items()} == {
        (0, 0): "training", (0, 1): "validation", (1, -1): "loss", (1, 0): "1.5000", (1, 1): "1.2500",
        (2, -1): "accuracy", (2, 0): "0.2500", (2, 1): "",
    }  # fmt: skip


def row(strategy, rows, deviation=0.02):
    return SimpleNamespace(
        strategy=strategy, rows=rows, score=0.7, deviation=deviation, trained=1000 * rows, seconds=3.0
    )


@pytest.mark.parametrize("count, deviation", [(1, None), (12, 0.02)])
def test_a_picture_is_drawn(count, deviation, tmp_path):
    rows = [row(f"lora:{i}", size, deviation) for i in range(1, count + 1) for size in (50, 200)]
    plot_comparison(tmp_path / "comparison.png", rows, "macro_f1")
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(TransformerError, match="rows must be at least one"):
        plot_comparison(tmp_path / "comparison.png", [], "accuracy")
    assert not list(tmp_path.iterdir())
