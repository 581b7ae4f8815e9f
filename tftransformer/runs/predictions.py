"""Texts to predict for, and the file of answers: what `--mode=predict` reads and writes."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.data.split import Text
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import join_labels, write_rows


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


def write_answers(
    path: str | os.PathLike, texts: Sequence[Text], answers: Iterable[Any], labels: Sequence[str]
) -> None:
    """Write a CSV file (RFC 4180, UTF-8), one row a text, that appears whole or not at all.

    Half a surrogate pair, which a shell may hand over and UTF-8 cannot hold, is written as its backslash escape.

    Columns: `text` (pairs: `text`, `text_pair`), `label` (several joined by "|"; empty where none is likely enough), and `probability_LABEL` for each
    label of the classifier, six decimals.
    """
    columns = ("label", *(f"probability_{label}" for label in labels))
    rows = (
        [
            "" if answer.label is None else join_labels(answer.label),
            *(f"{answer.probabilities[label]:.6f}" for label in labels),
        ]
        for answer in answers
    )
    write_rows(path, texts, columns, rows)
