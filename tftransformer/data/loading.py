"""Loading labelled texts from wherever they are into train, validation and test splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.data.readers.columns import Table, as_list
from tftransformer.data.readers.delimited import read_delimited
from tftransformer.data.readers.jsonl import read_json_splits, read_jsonl
from tftransformer.data.readers.labelled import read_split
from tftransformer.data.readers.parquet import read_parquet
from tftransformer.data.split import Split, Splits
from tftransformer.data.split_files import SPLIT_WORDS, check_fractions, cut_missing, find_split_files, word_of_split
from tftransformer.data.splitting import train_test_split
from tftransformer.data.tables import as_column, columns_of, is_table
from tftransformer.errors import TransformerError

READERS = {
    ".csv": read_delimited, ".tsv": read_delimited, ".tab": read_delimited, ".txt": read_delimited,
    ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".json": read_jsonl, ".parquet": read_parquet,
}  # fmt: skip
SAMPLE, RATED = "sample", "sample_rated"


def load(
    source: Any = None,
    *,
    train: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    text_columns: str | Sequence[str | int] | None = None,
    label_column: str | int | None = None,
    label_columns: str | Sequence[str | int] | None = None,
    label_delimiter: str | None = None,
    numeric: bool = False,
    validation_fraction: float = 0.1,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | Path | None = None,
    download: bool = False,
) -> Splits:
    """Loads labelled texts and returns their train, validation and test splits.

    Args:
        source: A CSV, TSV, JSONL, JSON or Parquet file; a folder with one such file for each split, found by a word
            in its name (train, valid, dev, test …); `"sample"` or `"sample_rated"` for an embedded sample;
            `"tfds:NAME/CONFIG"` for a data set prepared by tensorflow-datasets; `(texts, labels)` lists;
            a table with columns by name, such as a DataFrame, of which rows are counted from 1 in messages;
            or None with `train`.
        train, validation, test: Files for single splits, where names do not tell them apart; a path
            relative to the folder `source`, else to the working directory.
        text_columns: One or two columns, by name or by number from 1; found by their usual names if None.
        label_column: Column of the label; found by its usual names if None.
        label_columns: One column of 0 and 1 for each label, for multi-label data.
        numeric: Whether the label column holds numbers that mean a quantity and no classes; several are named by
            `label_columns`. `"sample_rated"` is so by itself.
        label_delimiter: String between the labels in the label column, such as `"|"`, for multi-label data.
        validation_fraction, test_fraction: Fractions of the rows of the file with the training rows that
            become a missing split; 0 cuts none. The cut is stratified by label, seeded, and keeps
            rows of one text (folded) on one side.
        seed: Random seed of the cut.
        data_dir, download: Arguments for `tfds:` only; nothing is downloaded unless asked for.

    Returns:
        Splits of which validation or test is None where it is missing and its fraction is 0.

    Raises:
        TransformerError: one line that says what is wrong and in which file and line.

    Example:
        >>> splits = load((["a", "b", "c", "d", "e", "f"], list("xyxyxy")), validation_fraction=0.2)
        >>> [len(split) for split in splits]
        [3, 1, 2]
    """
    given = {"train": train, "validation": validation, "test": test}
    given = {name: path for name, path in given.items() if path is not None}
    numeric = numeric or isinstance(source, str) and source == RATED
    if numeric and label_delimiter is not None:
        raise TransformerError("label_delimiter is for labels; with numeric=True name columns by label_columns")
    if label_delimiter == "":
        raise TransformerError("label_delimiter must be at least one character; got ''")
    options = {
        "text_columns": as_list(text_columns),
        "label_column": as_list(label_column),
        "label_columns": as_list(label_columns),
        "label_delimiter": label_delimiter,
        "numeric": numeric,
    }
    check_fractions(validation_fraction, test_fraction)
    if isinstance(source, (Split, Splits, tuple, list)) or is_table(source):
        if given:
            raise TransformerError("train, validation and test go with files; the source is in memory")
        found = {"train": _from_table(source, options)} if is_table(source) else _from_memory(source, numeric)
    elif isinstance(source, str) and source.startswith("tfds:"):
        from tftransformer.data.readers.tfds import read_tfds

        found = read_tfds(source.removeprefix("tfds:"), data_dir=data_dir, download=download, **options)
    else:
        files = find_split_files(
            source,
            given,
            samples={SAMPLE: SAMPLE, RATED: RATED},
            forms="a file, a folder, 'sample', 'tfds:NAME', (texts, labels) or a table such as a DataFrame",
            missing="has no file for the train split such as train.csv; name it with train=FILE",
            split_of=lambda path: word_of_split(path.stem) if path.suffix.lower() in READERS else None,
        )
        found = _read_together(files, options) or {name: _read(p, name, options) for name, p in files.items()}
    _check_classes(found["train"])
    splits = Splits(*cut_missing(found, validation_fraction, test_fraction, seed, train_test_split))
    _check_labels(splits)
    return splits


def _from_memory(source: Split | Splits | tuple | list, numeric: bool) -> dict[str, Split]:
    if isinstance(source, Splits):
        return source.present()
    if isinstance(source, Split):
        return {"train": replace(source, name="train")}
    if len(source) != 2:
        raise TransformerError(f"source must be (texts, labels) if it is a tuple; got {len(source)} items")
    from tftransformer.data.texts import as_split, as_texts

    if numeric:
        return {"train": Split(as_texts(source[0]).rows, source[1], numeric=True)}
    return {"train": as_split(*source)}


def _from_table(source: Any, options: dict) -> Split:
    columns = columns_of(source)
    rows = [[_as_list(cell) for cell in row] for row in zip(*map(as_column, columns.values()), strict=True)]
    if not rows:
        raise TransformerError(f"source must have rows; the {type(source).__name__} has none")
    table = Table(type(source).__name__, tuple(columns), rows, list(range(1, len(rows) + 1)))
    return read_split(table, "train", **options)


def _as_list(cell: Any) -> Any:
    """Cells of several values as lists; sets, which have no order, sorted."""
    if isinstance(cell, np.ndarray):
        return cell.tolist()
    if isinstance(cell, (set, frozenset)):
        return sorted(cell, key=str)
    return list(cell) if isinstance(cell, tuple) else cell


def _read_together(files: dict[str, Path], options: dict) -> dict[str, Split] | None:
    """The splits of a single .json file that holds several, by its keys train, val, test …"""
    path = files["train"]
    if len(files) > 1 or path.suffix.lower() != ".json":
        return None
    tables = {}
    for key, table in (read_json_splits(path) or {}).items():
        name = SPLIT_WORDS.get(key.casefold())
        if name in tables:
            raise TransformerError(f"{path}: several of its keys mean the {name} split; keep one")
        if name:
            tables[name] = table
    if "train" not in tables:
        return None
    return {name: read_split(table, name, **options) for name, table in tables.items()}


def _read(path: Path, name: str, options: dict) -> Split:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        kinds = ", ".join(sorted(READERS))
        raise TransformerError(f"{path} must end in one of {kinds}; got {path.suffix or 'no extension'!r}")
    return read_split(reader(path), name, **options)


def _check_classes(train: Split) -> None:
    kinds = set(train.targets or ())
    if train.numeric and len(kinds) < 2:
        raise TransformerError(f"{train.source or 'train'}: training needs numbers that differ; all are {kinds}")
    if len(kinds) < 2:
        raise TransformerError(
            f"{train.source or 'train'}: training needs at least 2 classes; the train split has {len(kinds)}:"
            f" {_listed(train.labels) or 'none'}"
        )


def _check_labels(splits: Splits) -> None:
    train = splits.train
    if any(split.numeric != train.numeric for split in splits.present().values()):
        raise TransformerError(f"{train.source or 'train'}: some splits have numbers as targets, others labels")
    if any(split.multi_label != train.multi_label for split in splits.present().values()):
        raise TransformerError(f"{train.source or 'train'}: some splits have several labels a row, others one")
    if any(split.is_pair != train.is_pair for split in splits.present().values() if len(split)):
        raise TransformerError(f"{train.source or 'train'}: some splits hold pairs of texts, others texts")
    known = set(train.labels)
    for name, split in splits.present().items():
        for row in range(len(split)):
            unseen = [label for label in split.labels_of(row) if label not in known]
            if unseen:
                raise TransformerError(
                    f"{split.where(row)}: label {_short(unseen[0])!r} of the {name} split never occurs in"
                    f" train, which has {_listed(train.labels)}"
                )


def _short(label: str, width: int = 30) -> str:
    return label if len(label) <= width else label[: width - 1] + "…"


def _listed(labels: Sequence[str], shown: int = 10) -> str:
    """The first few labels, each shortened, for a message of one line."""
    return ", ".join(map(_short, labels[:shown])) + (f", … ({len(labels)})" if len(labels) > shown else "")
