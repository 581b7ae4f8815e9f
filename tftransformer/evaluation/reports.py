"""report.txt, the "test" section of metrics.json, and predictions.csv."""

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tftransformer import files
from tftransformer.errors import TransformerError

# Between the labels of one text, where they stand in one cell.
LABEL_DELIMITER = "|"
# Columns on the terminal that a label may take, and classes up to which a matrix of numbers can be read.
_LABEL_WIDTH = 40
_MATRIX_CLASSES = 12


class Report:
    """The figures of a classifier on one set of texts; `str(report)` is report.txt.

    Args:
        metrics: Result of `classification_metrics` or `multilabel_metrics`.
        labels: C names, in order; None takes them from `metrics`.
        baseline: Result of `tfidf_baseline` for the same texts, shown beside the model.
        title: The first line: what was evaluated.

    Attributes:
        metrics, labels, baseline: The arguments.

    Raises:
        TransformerError: `labels` are not those of `metrics`.

    Example:
        >>> from tftransformer.evaluation import classification_metrics
        >>> m = classification_metrics([0, 1], [[.9, .1], [.2, .8]], ["no", "yes"])
        >>> print(Report(m))  # doctest: +ELLIPSIS
        Test: 2 texts, 2 classes
        ...
    """

    def __init__(
        self,
        metrics: Mapping[str, Any],
        labels: Sequence[str] | None = None,
        baseline: Mapping[str, Any] | None = None,
        *,
        title: str = "Test",
    ) -> None:
        self.metrics = dict(metrics)
        self.labels = tuple(metrics["per_class"]) if labels is None else tuple(str(label) for label in labels)
        self.baseline = None if baseline is None else dict(baseline)
        self._title = title
        if list(self.labels) != list(metrics["per_class"]):
            raise TransformerError(
                f"labels must be those of the metrics, {list(metrics['per_class'])[:8]}; got {list(self.labels)[:8]}"
            )

    def to_dict(self) -> dict[str, Any]:
        """The "test" section of metrics.json: the metrics, and the baseline's under `baseline`."""
        return {**self.metrics, "baseline": self.baseline}

    def __getitem__(self, key: str) -> Any:
        return self.metrics[key]

    def __repr__(self) -> str:
        return f"Report(accuracy={self.metrics['accuracy']:.4f}, macro_f1={self.metrics['macro_f1']:.4f})"

    def __str__(self) -> str:
        parts = [
            f"{self._title}: {counted(self.metrics['examples'], 'text')}, "
            f"{counted(len(self.labels), 'class', 'classes')}",
            self._per_class(),
            self._summary(),
            self._against_baseline(),
            self._confusion(),
        ]
        return "\n\n".join(part for part in parts if part)

    def _per_class(self) -> str:
        figures = self.metrics["per_class"]
        support = sum(row["support"] for row in figures.values())
        rows = [["", "precision", "recall", "F1", "support"]]
        rows += [
            [_short(label), *three_rates(figures[label]), _number(figures[label]["support"])] for label in self.labels
        ]
        rows.append([])
        for kind in ("micro", "macro", "weighted"):
            rows.append([f"{kind} average", *three_rates(self.metrics[kind]), _number(support)])
        return text_table(rows)

    def _summary(self) -> str:
        m, interval = self.metrics, self.metrics["confidence_interval"]
        several = "subset_accuracy" in m
        accuracy = "accuracy (whole set of labels right)" if several else "accuracy"
        rows = [
            [accuracy, with_interval(m["accuracy"], interval["accuracy"])],
            ["macro F1", with_interval(m["macro_f1"], interval["macro_f1"])],
        ]
        if several:
            rows += [
                ["micro F1", with_interval(m["micro_f1"], interval["micro_f1"])],
                ["wrong single decisions (Hamming loss)", f"{m['hamming_loss']:.4f}"],
                ["threshold", ", ".join(f"{t:.3f}" for t in sorted(set(m["thresholds"])))],
            ]
        auc = f"{m['auc']:.4f}" if m["auc"] is not None else m.get("auc_note", "undefined")
        rows += [["AUC (ROC)", auc], ["loss", "-" if m["loss"] is None else f"{m['loss']:.4f}"]]
        note = f"In brackets: {100 * interval['level']:.0f} % confidence intervals."
        return f"{text_table(rows, left=(0, 1))}\n{note}"

    def _against_baseline(self) -> str:
        if self.baseline is None:
            return ""
        name = self.baseline.get("name", "baseline")
        shown = [key for key in ("accuracy", "macro_f1", "micro_f1") if key in self.metrics]
        rows = [["", *(key.replace("_f1", " F1") for key in shown)]]
        for row_name, figures in (("this model", self.metrics), (name, self.baseline)):
            intervals = figures["confidence_interval"]
            rows.append([row_name, *(with_interval(figures[key], intervals[key]) for key in shown)])
        rows.append(["difference", *(f"{self.metrics[key] - self.baseline[key]:+.4f}" + " " * 16 for key in shown)])
        return text_table(rows)

    def _confusion(self) -> str:
        matrix = np.asarray(self.metrics.get("confusion_matrix", []))
        if matrix.ndim != 2 or not 0 < len(matrix) <= _MATRIX_CLASSES:
            return ""
        rows = [["", *(str(i + 1) for i in range(len(matrix)))]]
        for i, label in enumerate(self.labels):
            rows.append([f"{i + 1:2} {_short(label)}", *map(_number, matrix[i])])
        return "Confusion matrix: a row is the true label, a column the predicted one\n" + text_table(rows)


def write_predictions(
    path: str | os.PathLike,
    texts: Sequence[str] | Sequence[tuple[str, str]],
    labels: Sequence[str] | Sequence[Sequence[str]] | None,
    predictions: Sequence[str] | Sequence[Sequence[str]],
    probabilities: Sequence[float] | Sequence[Sequence[float]] | np.ndarray,
    *,
    delimiter: str = LABEL_DELIMITER,
) -> None:
    """Write predictions.csv (RFC 4180, UTF-8), one row per text, atomically.

    Columns: `text` (pairs: `text`, `text_pair`), `label`, `prediction`, `probability`. Cells are data and are
    not changed, whatever sign they start with.

    Args:
        path: The file.
        texts: B texts or pairs.
        labels: B true labels, or B collections of them; None leaves the column empty.
        predictions: B labels, or B collections (several labels per text, joined by `delimiter`).
        probabilities: B numbers, the probability of the prediction; or (B, C), the largest of each row taken.
            With several labels per text: B sequences that match `predictions` one to one; or a (B, C) array,
            of which a row's k largest are taken in column order, as one threshold for all labels predicts.
        delimiter: Separator of the labels of one text.

    Raises:
        TransformerError: Lengths that differ, or the disk refused.

    Example:
        >>> write_predictions("predictions.csv", ["good film"], ["pos"], ["pos"], [0.93])
    """
    known = [len(texts), len(predictions), len(probabilities)] + ([] if labels is None else [len(labels)])
    if len(set(known)) > 1:
        raise TransformerError(
            f"texts, predictions, probabilities and labels must be equally long; got {', '.join(map(str, known))}"
        )
    matrix = isinstance(probabilities, np.ndarray) and probabilities.ndim == 2
    rows = []
    for index in range(len(texts)):
        prediction, probability = predictions[index], probabilities[index]
        if isinstance(prediction, str) or not isinstance(prediction, Sequence):
            chosen: Any = [np.max(probability)]
        elif matrix:
            chosen = probability[np.sort(np.argsort(-probability, kind="stable")[: len(prediction)])]
        elif len(prediction) != len(probability):
            raise TransformerError(
                f"probabilities must match predictions one to one; row {index} has "
                f"{len(probability)} for {len(prediction)}"
            )
        else:
            chosen = probability
        shown = delimiter.join(f"{float(p):.6f}" for p in chosen)
        truth = "" if labels is None else join_labels(labels[index], delimiter)
        rows.append([truth, join_labels(prediction, delimiter), shown])
    write_rows(path, texts, ("label", "prediction", "probability"), rows)


def write_rows(
    path: str | os.PathLike,
    texts: Sequence[Any],
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    name: str = "text",
) -> None:
    """Write a CSV file (RFC 4180, UTF-8) that appears whole or not at all: each text or pair, and cells of its own."""
    pairs = bool(len(texts)) and not isinstance(texts[0], str)
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow([*((name, f"{name}_pair") if pairs else (name,)), *columns])
    writer.writerows([*(text if pairs else (text,)), *row] for text, row in zip(texts, rows, strict=True))
    files.write_text(path, out.getvalue())


def join_labels(label: Any, delimiter: str = LABEL_DELIMITER) -> str:
    """A label as it is, or a collection of them as one string.

    In a collection a name is quoted as in CSV (RFC 4180) where it holds the delimiter, a quotation mark or the end of a
    line, so that `csv.reader([string], delimiter="|")` gives the names back.

    Example:
        >>> join_labels("pos"), join_labels(("early", "late")), join_labels(("yes|no", "late"))
        ('pos', 'early|late', '"yes|no"|late')
    """
    if not isinstance(label, (tuple, list, set, frozenset)):
        return str(label)
    return delimiter.join(_quoted(str(name), delimiter) for name in label)


def _quoted(name: str, delimiter: str) -> str:
    if not any(mark in name for mark in (delimiter, '"', "\n", "\r")):
        return name
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _width(text: str) -> int:
    """Columns on a terminal: two for a wide East Asian character, none for a combining mark."""
    shown = [c for c in text if not unicodedata.combining(c) and unicodedata.category(c) != "Cf"]
    return len(shown) + sum(unicodedata.east_asian_width(c) in ("W", "F") for c in shown)


def _short(label: str) -> str:
    label = " ".join(label.split()) or "(empty)"
    if _width(label) <= _LABEL_WIDTH:
        return label
    while _width(label) > _LABEL_WIDTH - 1:
        label = label[:-1]
    return label + "…"


def text_table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> str:
    """Rows of cells in columns as wide as their widest cell, to the right but for those in `left`; a row may be empty."""
    widths = [max(_width(row[i]) for row in rows if row) for i in range(len(rows[0]))]

    def padded(cell: str, column: int) -> str:
        space = " " * (widths[column] - _width(cell))
        return cell + space if column in left else space + cell

    return "\n".join("  ".join(padded(cell, i) for i, cell in enumerate(row)).rstrip() for row in rows)


def three_rates(figures: Mapping[str, float]) -> list[str]:
    """Precision, recall and F1 as cells."""
    return [f"{figures[key]:.4f}" for key in ("precision", "recall", "f1")]


def _number(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.1f}"


def with_interval(value: float, interval: Sequence[float]) -> str:
    """A figure between 0 and 1 with its interval in brackets."""
    return f"{value:.4f} ({interval[0]:.4f}-{interval[1]:.4f})"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number and what it counts.

    Example:
        >>> counted(1200, "row"), counted(1, "entity", "entities")
        ('1,200 rows', '1 entity')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
