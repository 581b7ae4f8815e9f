"""Texts to predict for, and the file of answers: what `--mode=predict` reads and writes."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.data.split import Text
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import join_labels, write_rows
from tftransformer.runs.run_folder import RunFolder


def pair_up(texts: Sequence[str] | None, second: Sequence[str] | None) -> list[Text]:
    """Texts, or pairs of texts where second texts are given."""
    if not second:
        return list(texts or [])
    if len(second) != len(texts or []):
        raise TransformerError(
            f"text_pair must be given once for each text, {len(texts or [])} times; got {len(second)}"
        )
    return list(zip(texts, second))


def texts_to_predict(
    given: Sequence[Text], path: str | os.PathLike | None, text_columns: Sequence[str] | None = None
) -> list[Text]:
    """Texts that were given one by one, or those of a file."""
    if path is None:
        if not given:
            raise TransformerError('predict needs a text: pass --text="..." once or more, or --texts=FILE')
        return list(given)
    if given:
        raise TransformerError("text cannot go with texts: give texts one by one, or a file of them")
    return read_texts(path, text_columns)


def check_output(path: str | os.PathLike, overwrite: bool = False) -> None:
    """Refuse a file of answers that could not be written when the answers are there."""
    path = Path(path)
    if path.suffix.lower() != ".csv":
        raise TransformerError(f"output must end in .csv; got {os.fspath(path)!r}")
    if path.is_dir() or path.exists() and not overwrite:
        what = "is a folder" if path.is_dir() else "exists: pass overwrite=True to replace it"
        raise TransformerError(f"output must be a new file; {path} {what}")
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written" if folder.is_dir() else "does not exist"
        raise TransformerError(f"output must be in a folder that can be written; {folder} {what}")


def thresholds_of(
    run: RunFolder, min_accuracy: float | None = None, label_sets: float | None = None
) -> tuple[float, float | None]:
    """The probabilities of a run for what is wanted of its answers, chosen on its validation rows.

    Args:
        run: A finished classification run.
        min_accuracy: Fraction of the answers that is to be right.
        label_sets: Fraction of the sets that is to hold the right label.

    Returns:
        The least probability of an answer, 0 where nothing is wanted, and that of a label in a set, None likewise.

    Raises:
        TransformerError: The report of the run has no such threshold; the message says which it has.
    """
    answer, label = 0.0, None
    if min_accuracy is not None:
        answer = _threshold(run, "min_accuracy", "answers", min_accuracy)
    if label_sets is not None:
        label = _threshold(run, "label_sets", "sets", label_sets)
    return answer, label


def _threshold(run: RunFolder, argument: str, section: str, wanted: float) -> float:
    found = (run.metrics.get("confidence") or {}).get(section)
    if not found:
        raise TransformerError(
            f"{argument} needs a run with validation and test rows and one label a text, whose report says what its "
            f"probabilities are worth; that of {run.path} does not"
        )
    known = {float(name): row["threshold"] for name, row in found.items() if row["threshold"] is not None}
    if wanted not in known:
        listed = ", ".join(f"{value:g}" for value in known) or "none"
        raise TransformerError(
            f"{argument} must be a number that the report of {run.path} has ({listed}); got {wanted:g}"
        )
    return known[wanted]


def write_answers(
    path: str | os.PathLike, texts: Sequence[Text], answers: Iterable[Any], labels: Sequence[str]
) -> None:
    """Write a CSV file (RFC 4180, UTF-8), one row a text, that appears whole or not at all.

    Half a surrogate pair, which a shell may hand over and UTF-8 cannot hold, is written as its backslash escape.

    Columns: `text` (pairs: `text`, `text_pair`), `label` (several joined by "|"; empty where none is likely enough),
    `label_set` (joined likewise) where the answers have sets, and `probability_LABEL` for each label of the classifier, six decimals.
    """
    answers = list(answers)
    sets = any(answer.label_set is not None for answer in answers)
    columns = ("label", *(("label_set",) if sets else ()), *(f"probability_{label}" for label in labels))
    rows = (
        [
            "" if answer.label is None else join_labels(answer.label),
            *((join_labels(answer.label_set),) if sets else ()),
            *(f"{answer.probabilities[label]:.6f}" for label in labels),
        ]
        for answer in answers
    )
    write_rows(path, texts, columns, rows)
