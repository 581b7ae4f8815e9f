"""comparison.png is drawn for one strategy and for many."""

from types import SimpleNamespace

import pytest

from tftransformer.errors import TransformerError
from tftransformer.evaluation.plots import plot_comparison


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
