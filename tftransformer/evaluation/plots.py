"""The pictures of a run, a comparison and a drift report, drawn without pyplot, so no global state is touched."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator, PercentFormatter
from sklearn.metrics import auc, roc_curve

from tftransformer.errors import TransformerError
from tftransformer.evaluation.calibration import Confidence
from tftransformer.evaluation.figures import COLOURS, GREY, STYLES, drawable, new_figure, plain_axes, save, single_axes

_MARKERS = "osD^vP*X<>"
_ROC_CURVES = 10
_WORST = 6
_TITLE = 90  # characters
_PARTS = {"": "training", "val_": "validation"}  # by the prefix of Keras's logs


def plot_confusion_matrix(
    path: str | os.PathLike, confusion: Sequence[Sequence[float]], labels: Sequence[str], *, title: str = ""
) -> None:
    """Draw a confusion matrix: counts in the cells, shaded by their fraction of the row.

    Args:
        path: The PNG.
        confusion: (C, C) counts, a row a true label, a column a predicted one; or (C, 2, 2) as
            `multilabel_metrics` has it, drawn as four columns a label.
        labels: C names.
        title: Title above the matrix; none by default.

    Raises:
        TransformerError: A shape that does not fit, or the disk refused.

    Example:
        >>> plot_confusion_matrix("confusion_matrix.png", [[8, 2], [1, 9]], ["no", "yes"])
    """
    matrix = np.asarray(confusion, np.float64)
    number = len(labels)
    several = matrix.ndim == 3
    names, fonts = drawable(labels)
    if matrix.shape == (number, 2, 2) and number > 0:
        columns = ["found", "missed", "false alarm", "rightly left out"]
        matrix = matrix[:, [1, 1, 0, 0], [1, 0, 1, 0]]
    elif matrix.shape == (number, number) and number > 0:
        columns = names
    else:
        raise TransformerError(
            f"confusion must be ({number}, {number}), or ({number}, 2, 2) for several labels per "
            f"text; got shape {matrix.shape}"
        )
    totals = matrix.sum(1, keepdims=True)
    fractions = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    few, many = number <= 12, number > 25
    cell, size, tick = (0.62, 9.5, 9) if few else (0.27, 5.5, 6.5) if many else (0.42, 7.5, 8)
    margin = 0.9 + 0.085 * max(map(len, names)) * (1.15 if few else 0.85)
    figure = new_figure(max(4.2, cell * len(columns) + margin + 1.0), max(3.4, cell * number + margin + 0.3))
    axes = figure.add_subplot()
    image = axes.imshow(fractions, cmap="Blues", vmin=0, vmax=1, aspect="auto" if several else "equal")
    for (row, column), value in np.ndenumerate(matrix):
        if value or not many:
            axes.text(
                column,
                row,
                f"{value:.0f}" if value == int(value) else f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=size if value < 1000 else size * 0.8,
                color="white" if fractions[row, column] > 0.55 else "#b0b0b0" if value == 0 else "#202020",
                in_layout=False,
            )
    turned: dict[str, Any] = {"rotation": 0 if few else 90}
    if few and max(map(len, columns)) > 3:
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    written: dict[str, Any] = {"fontsize": tick, "family": fonts, "parse_math": False}
    axes.set_xticks(range(len(columns)), columns, **turned, **written)
    axes.set_yticks(range(number), names, **written)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(number + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="#e4e4e4", linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("" if several else "predicted label")
    axes.set_ylabel("label" if several else "true label")
    width: dict[str, Any] = {"fraction": 0.04, "aspect": 20} if few else {"fraction": 0.02, "aspect": 40}
    bar = figure.colorbar(image, ax=axes, pad=0.02, format=PercentFormatter(1.0, decimals=0), **width)
    bar.set_label("fraction of the texts" if several else "fraction of the true label", fontsize=8)
    bar.ax.tick_params(labelsize=8, length=2)
    bar.outline.set_visible(False)
    _entitle(figure, title)
    save(figure, path)


def plot_roc(
    path: str | os.PathLike, targets: np.ndarray, probabilities: np.ndarray, labels: Sequence[str], *, title: str = ""
) -> None:
    """Draw receiver operating characteristics, one label against the rest, with areas, texts and chance.

    With two classes there is one curve, that of class 1. Above ten labels the six worst are coloured and the
    others grey. A label that no text or every text has cannot be drawn; the legend says so.

    Args:
        path: The PNG.
        targets: (B,) integers, or (B, C) of 0 and 1.
        probabilities: (B, C).
        labels: C names.
        title: Title above the curves; none by default.

    Raises:
        TransformerError: Shapes that do not fit, or the disk refused.

    Example:
        >>> plot_roc("roc.png", [0, 1, 1], [[.8, .2], [.3, .7], [.6, .4]], ["no", "yes"])
    """
    targets, probabilities = np.asarray(targets), np.asarray(probabilities, np.float64)
    single = targets.ndim == 1
    if probabilities.shape != (len(targets), len(labels)) or not (single or targets.shape == probabilities.shape):
        raise TransformerError(
            f"targets and probabilities must be (B,) or (B, {len(labels)}) and "
            f"(B, {len(labels)}); got shapes {targets.shape} and {probabilities.shape}"
        )
    actual = np.eye(len(labels), dtype=bool)[targets] if single else targets.astype(bool)
    names, fonts = drawable(labels)
    chosen = [1] if single and len(labels) == 2 else range(len(labels))
    defined = [c for c in chosen if actual[:, c].any() and not actual[:, c].all()]
    curves = {c: roc_curve(actual[:, c], probabilities[:, c], drop_intermediate=True)[:2] for c in defined}
    areas = {c: auc(*curves[c]) for c in defined}
    order = sorted(defined, key=lambda c: areas[c])
    coloured = order if len(order) <= _ROC_CURVES else order[:_WORST]
    figure, axes = single_axes(8.4, 5.0)
    entries = []
    others = [c for c in order if c not in coloured]
    for c in others:
        axes.plot(*curves[c], color="#c4c4c4", linewidth=0.7, zorder=1)
    for rank, c in enumerate(coloured):
        (line,) = axes.plot(*curves[c], color=COLOURS[rank % 7], linestyle=STYLES[rank // 7], linewidth=1.6)
        entries.append((line, f"{areas[c]:.3f}  {names[c]} ({actual[:, c].sum():,})"))
    if others:
        entries.append((axes.plot([], [], color="#c4c4c4")[0], f"{areas[others[0]]:.3f} or more  {len(others)} others"))
    if len(defined) > 1:
        rates = np.linspace(0, 1, 501)
        mean = np.mean([np.interp(rates, *curves[c]) for c in defined], axis=0)
        (line,) = axes.plot(np.r_[0, rates], np.r_[0, mean], color="black", linewidth=2.4, alpha=0.75, zorder=3)
        entries.insert(0, (line, f"{np.mean(list(areas.values())):.3f}  mean of {len(defined)} labels"))
    entries.append((axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 4)), linewidth=1)[0], "0.500  chance"))
    missing = [names[c] for c in chosen if c not in areas]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        entries.append((axes.plot([], [], " ")[0], f"undefined: {', '.join(missing[:3])}{more}"))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set(xlabel="false positive rate", ylabel="true positive rate")
    legend = axes.legend(
        *zip(*entries, strict=True),
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        frameon=False,
        title=f"area under the curve{', lowest first' if len(coloured) > 1 else ''} (texts)",
        alignment="left",
        fontsize=9,
        title_fontsize=9,
    )
    for text in legend.get_texts():
        text.set(parse_math=False, family=fonts)
    _entitle(figure, title)
    save(figure, path)


def plot_confidence(path: str | os.PathLike, confidence: Confidence, *, title: str = "") -> None:
    """Draw how often decisions of like confidence are right, and how accuracy grows where unsure answers are left out.

    Args:
        path: The PNG.
        confidence: Of a run; with several labels a text there is no second panel.
        title: Title above everything; none by default.

    Raises:
        TransformerError: The disk refused.

    Example:
        >>> targets, probabilities = np.array([0, 1] * 20), np.array([[0.8, 0.2], [0.1, 0.9]] * 20)
        >>> plot_confidence("confidence.png", Confidence((targets, probabilities), (targets, probabilities)))
    """
    figure = new_figure(9.6 if confidence.curve else 5.2, 4.4)
    panels = figure.subplots(1, 2 if confidence.curve else 1, squeeze=False)[0]
    axes = panels[0]
    parts = (("before", confidence.reliability_before, GREY), ("calibrated", confidence.reliability, COLOURS[0]))
    for name, found, colour in parts:
        # A dot as large as the number of decisions that it stands for.
        sizes = 12 + 400 * found.count / found.count.sum()
        label = f"{name}, error {found.error:.3f}"
        axes.scatter(found.confidence, found.accuracy, s=sizes, color=colour, alpha=0.6, linewidths=0, label=label)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (4, 4)), linewidth=1, label="perfectly calibrated")
    lowest = min(min(found.confidence.min(), found.accuracy.min()) for _, found, _ in parts)
    axes.set(
        xlim=(lowest - 0.03, 1.02), ylim=(lowest - 0.03, 1.02), xlabel="confidence", ylabel="fraction that is right"
    )
    for dot in axes.legend(frameon=False, fontsize=9, loc="upper left").legend_handles[:2]:
        dot.set_sizes([40])
    plain_axes(axes)
    if confidence.curve:
        axes, curve = panels[1], confidence.curve
        axes.plot(curve.answered / curve.texts, curve.right / curve.answered, color=COLOURS[0], linewidth=1.6)
        for wanted, row in confidence.metrics["answers"].items():
            if row["accuracy"] is not None:
                axes.plot(row["coverage"], row["accuracy"], "o", color=COLOURS[1])
                axes.annotate(
                    f"{float(wanted):.0%} wanted", (row["coverage"], row["accuracy"]), (-5, -10), textcoords="offset points", fontsize=8, ha="right",
                )  # fmt: skip
        axes.set(
            xlim=(0, 1.02),
            xlabel="fraction of the texts that is answered",
            ylabel="fraction of the answers that is right",
        )
        plain_axes(axes)
    _entitle(figure, title)
    save(figure, path)


def plot_curves(
    path: str | os.PathLike, history: Mapping[str, Sequence[float]] | Sequence[Mapping[str, Any]], *, title: str = ""
) -> None:
    """Draw the loss and each metric by epoch, training and validation in one panel; of one epoch, a table.

    Args:
        path: The PNG.
        history: `History.history` of `fit` ({"loss": [...], "val_loss": [...], ...}), or one dictionary per
            epoch, with what it has. Entries that are not numbers, the learning rate and counts of time are left out.
        title: Title above everything; none by default.

    Raises:
        TransformerError: No curve in `history`, or the disk refused.

    Example:
        >>> plot_curves("curves.png", {"loss": [1.0, 0.5], "val_loss": [0.9, 0.6]})
    """
    if not isinstance(history, Mapping):
        keys = list(dict.fromkeys(key for epoch in history for key in epoch))
        history = {key: [epoch.get(key) for epoch in history] for key in keys}
    curves = {
        key: np.array(values, np.float64)  # None is NaN then
        for key, values in history.items()
        if len(values) and all(_is_number(v) for v in values)
    }
    hidden = ("epoch", "learning_rate", "lr", "seconds", "examples_per_second")
    names = list(dict.fromkeys(k.removeprefix("val_") for k in curves if k.removeprefix("val_") not in hidden))
    if not names:
        raise TransformerError(f"history must hold at least one curve; got {list(history)}")
    names.sort(key=lambda name: name != "loss")
    if max(len(values) for values in curves.values()) == 1:
        # A curve of one point says nothing by its place.
        save(_table_of_one_epoch(names, curves, title), path)
        return
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = new_figure(max(5.0, 3.9 * columns), 3.3 * rows + 0.35)
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        longest = 0
        for (prefix, part), colour, style in zip(_PARTS.items(), COLOURS, STYLES):
            if prefix + name in curves:
                values = curves[prefix + name]
                longest = max(longest, len(values))
                marker = "o" if len(values) <= 30 else None
                look: dict[str, Any] = {"color": colour, "linewidth": 1.8, "marker": marker, "markersize": 4}
                # Validation may be after some epochs alone: a line goes from one to the next.
                epochs = np.flatnonzero(~np.isnan(values))
                axes.plot(epochs + 1, values[epochs], style, label=part, **look)
        margin = max(0.5, 0.02 * longest)
        axes.set_xlim(1 - margin, longest + margin)
        axes.set_title(name.replace("_", " "), fontsize=11, loc="left", parse_math=False)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        plain_axes(axes)
        if name == "perplexity":
            # An exponential: it begins at the size of the vocabulary, and what matters happens below ten.
            axes.set_yscale("log")
    handles = {line.get_label(): line for panel in figure.axes for line in panel.get_lines()}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=2, frameon=False)
    _entitle(figure, title)
    save(figure, path)


def _entitle(figure: Figure, title: str) -> None:
    if title:
        (shown,), fonts = drawable([title], longest=_TITLE)
        figure.suptitle(shown, fontsize=11, family=fonts, parse_math=False)


def _table_of_one_epoch(names: Sequence[str], curves: Mapping[str, np.ndarray], title: str) -> Figure:
    heads = {prefix: part for prefix, part in _PARTS.items() if any(prefix + name in curves for name in names)}
    rows = [[f"{curves[key][0]:.4f}" if (key := prefix + name) in curves else "" for prefix in heads] for name in names]
    figure = new_figure(5.0, 0.9 + 0.32 * len(rows))
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set_title("after the one epoch", fontsize=10, loc="left", color=GREY)
    table = axes.table(
        rows,
        rowLabels=[name.replace("_", " ") for name in names],
        colLabels=list(heads.values()),
        loc="center",
        edges="horizontal",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(10)
    table.scale(1, 1.5)
    for cell in table.get_celld().values():
        cell.get_text().set_parse_math(False)
        cell.set_edgecolor("#e0e0e0")
    _entitle(figure, title)
    return figure


def _is_number(value: object) -> bool:
    return value is None or (np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.number))


def plot_comparison(path: str | os.PathLike, rows: Sequence[Any], figure: str) -> None:
    """Draw the quality of strategies against training rows; and, at the most rows, against parameters and time.

    Example:
        >>> from types import SimpleNamespace
        >>> figures = {"rows": 500, "score": 0.8, "deviation": 0.01, "trained": 6000, "seconds": 9.0}
        >>> rows = [SimpleNamespace(strategy=strategy, **figures) for strategy in ("full", "head")]
        >>> plot_comparison("comparison.png", rows, "accuracy")
    """
    if not rows:
        raise TransformerError("rows must be at least one; got none")
    strategies = list(dict.fromkeys(row.strategy for row in rows))
    sizes = sorted({row.rows for row in rows})
    picture = new_figure(13.0, 4.4)
    by_size, by_weights, by_time = picture.subplots(1, 3, sharey=True)
    for place, strategy in enumerate(strategies):
        mine = sorted((row for row in rows if row.strategy == strategy), key=lambda row: row.rows)
        look = {"color": COLOURS[place % len(COLOURS)], "marker": _MARKERS[place % len(_MARKERS)], "markersize": 6}
        # A little to the side of one another, so that error bars can be told apart.
        shift = 1.03 ** (place - (len(strategies) - 1) / 2)
        by_size.errorbar(
            [row.rows * shift for row in mine],
            [row.score for row in mine],
            yerr=[row.deviation or 0.0 for row in mine],
            linestyle=STYLES[place // len(COLOURS) % len(STYLES)],
            linewidth=1.4,
            capsize=2,
            label=strategy,
            **look,
        )
        last = mine[-1]
        for axes, value in ((by_weights, last.trained), (by_time, last.seconds)):
            axes.errorbar([value], [last.score], yerr=[last.deviation or 0.0], linestyle="none", capsize=2, **look)
    for axes, label in (
        (by_size, "training rows"),
        (by_weights, f"trained parameters, at {sizes[-1]:,} rows"),
        (by_time, f"seconds of training, at {sizes[-1]:,} rows"),
    ):
        plain_axes(axes)
        axes.set_xlabel(label)
    for axes in (by_size, by_weights):
        axes.set_xscale("log")
    by_size.xaxis.set_major_locator(FixedLocator(sizes))
    by_size.xaxis.set_minor_locator(NullLocator())
    by_size.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    by_time.set_xlim(left=0)
    by_size.set_ylabel(figure.replace("_f1", "-F1"))
    by_size.legend(fontsize=8, frameon=False)
    save(picture, path)


_WIDEST = 6.0
_LABELS = 20


def plot_drift(
    path: str | os.PathLike,
    measures: Sequence[str],
    ratios: Sequence[float],
    labels: Sequence[str],
    old: Sequence[float],
    new: Sequence[float],
) -> None:
    """Draw a bar for each measure, 1 being the end of noise, and how often each label is predicted.

    Args:
        path: The PNG.
        measures: Names of the measures.
        ratios: Distance divided by noise of each; bars end at 6.
        labels: Names of the classes; the 20 whose frequencies changed most are drawn.
        old, new: Fraction of the old and of the new texts that each label is predicted for.

    Example:
        >>> plot_drift("drift.png", ["length"], [2.5], ["no", "yes"], [0.5, 0.5], [0.2, 0.8])
    """
    if len(measures) != len(ratios) or len({len(labels), len(old), len(new)}) > 1:
        raise TransformerError(
            f"measures must be as many as ratios, and labels as their fractions; got {len(measures)}, {len(ratios)}, "
            f"{len(labels)}, {len(old)}, {len(new)}"
        )
    chosen = np.sort(np.argsort(-np.abs(np.subtract(new, old)), kind="stable")[:_LABELS])
    names, fonts = drawable([labels[i] for i in chosen])
    figure = new_figure(10.0, max(3.0, 0.34 * max(len(measures), len(chosen)) + 1.4))
    left, right = figure.subplots(1, 2)
    places = np.arange(len(measures))
    colours = [COLOURS[1] if ratio > 1 else GREY for ratio in ratios]
    left.barh(places, np.minimum(ratios, _WIDEST), color=colours, height=0.6)
    for place, ratio in zip(places, ratios):
        text = f"{ratio:.1f}" if ratio < 100 else ">100"
        behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
        left.text(min(ratio, _WIDEST) + 0.08, place, text, va="center", fontsize=8, bbox=behind)
    left.axvline(1.0, color="#202020", linewidth=1.2, linestyle="--")
    left.set_xlim(0, _WIDEST + 0.9)
    left.set_yticks(places, measures)
    left.invert_yaxis()
    left.set_xlabel("distance, in multiples of noise (dashed: its end)")
    places = np.arange(len(chosen))
    for shift, fractions, title, colour in ((-0.2, old, "before", GREY), (0.2, new, "new", COLOURS[0])):
        right.barh(places + shift, [fractions[i] for i in chosen], height=0.38, color=colour, label=title)
    right.set_yticks(places, names, family=fonts, parse_math=False)
    right.invert_yaxis()
    right.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    right.set_xlabel("predicted for this fraction of the texts")
    right.legend(frameon=False, fontsize=9)
    for axes in (left, right):
        plain_axes(axes)
    save(figure, path)


def plot_cross_attention(
    path: str | os.PathLike, texts: Sequence[tuple[Sequence[str], Sequence[str], np.ndarray]]
) -> None:
    """Draw where a decoder looks while it writes: for each text a row for each written token.

    Args:
        path: The PNG.
        texts: For each text the source's tokens (S), the written ones (T), and the scores (T, S).

    Raises:
        TransformerError: There is no text, or the disk refused.

    Example:
        >>> plot_cross_attention("attention.png", [(["a", "dog"], ["ein", "Hund"], np.eye(2))])
    """
    if not texts:
        raise TransformerError("texts must hold at least one; got none")
    widths = [max(2.4, 0.34 * len(source) + 1.2) for source, _, _ in texts]
    height = max(2.0, max(0.3 * len(written) + 1.1 for _, written, _ in texts))
    figure = new_figure(sum(widths), height)
    grid = figure.add_gridspec(1, len(texts), width_ratios=widths)
    for place, (source, written, scores) in enumerate(texts):
        axes = figure.add_subplot(grid[place])
        axes.imshow(scores, cmap="Blues", vmin=0.0, vmax=max(float(np.max(scores)), 1e-9), aspect="auto")
        for ticks, tokens, rotation in ((axes.set_xticks, source, 90), (axes.set_yticks, written, 0)):
            shown, fonts = drawable(tokens, 14)
            ticks(range(len(tokens)), shown, rotation=rotation, fontsize=8, fontfamily=fonts)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
    save(figure, path)
