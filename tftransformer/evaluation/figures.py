"""Common parts of the pictures: fonts, colours, axes, and a figure that needs no pyplot and no global state."""

import logging
import os
import warnings
from collections.abc import Sequence

# The first import on a machine may announce, on stderr, that it lists the fonts.
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)

from matplotlib import font_manager  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from tftransformer import files  # noqa: E402

# Okabe and Ito's palette, told apart with every common kind of colour blindness, without its yellow, which
# is too pale for a line on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STYLES = ("-", "--", ":", "-.")
GREY = "#8a8a8a"
_WIDE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans", "PingFang SC", "Hiragino Sans",
    "Arial Unicode MS", "WenQuanYi Zen Hei", "Droid Sans Fallback",
)  # fmt: skip


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def single_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of so many inches, and its one plot."""
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    plain_axes(axes)
    return figure, axes


def plain_axes(axes: Axes) -> None:
    """A light grid behind the curves, no frame."""
    axes.grid(color="#e8e8e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, color=GREY)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write the PNG atomically."""
    # 150 dots per inch, fewer where hundreds of labels would make a picture that no viewer opens.
    dots = min(150, 5000 / max(figure.get_size_inches()))
    with files.atomic_file(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(temporary, format="png", dpi=dots, bbox_inches="tight", pad_inches=0.12)


def drawable(labels: Sequence[str], longest: int = 30) -> tuple[list[str], list[str]]:
    """Return the text to draw for each label, of at most `longest` characters, and the fonts to draw it in.

    A label in a script that no installed font is known to have becomes its number; the report has it in full.
    """
    shown = [" ".join(str(label).split()) or "(empty)" for label in labels]
    shown = [label if len(label) <= longest else label[: longest - 1] + "…" for label in shown]
    installed = {font.name for font in font_manager.fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _WIDE_FONTS if name in installed)]
    if len(fonts) == 1:
        has = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
        shown = [
            label if all(ord(character) in has for character in label) else f"label {index + 1}"
            for index, label in enumerate(shown)
        ]
    return shown, fonts
