"""Texts without labels from a file, as a model in use gets them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tftransformer.data.dedup import well_formed
from tftransformer.data.readers.columns import Table, as_list
from tftransformer.data.readers.delimited import read_delimited
from tftransformer.data.readers.jsonl import read_jsonl
from tftransformer.data.readers.labelled import read_split
from tftransformer.data.readers.parquet import read_parquet
from tftransformer.data.readers.text_file import existing_path, read_text, split_lines
from tftransformer.data.split import Text
from tftransformer.errors import TransformerError

_TABLES = {
    ".csv": read_delimited, ".tsv": read_delimited, ".jsonl": read_jsonl, ".ndjson": read_jsonl, ".parquet": read_parquet,
}  # fmt: skip
_LABEL = "label"


def read_texts(path: str | Path, text_columns: str | Sequence[str | int] | None = None) -> list[Text]:
    """Texts, or pairs of texts, of a file; labels in it are not looked at.

    Args:
        path: A .txt file with a text on each line, or a CSV, TSV, JSONL or Parquet file, the first two with a header row.
        text_columns: One or two columns, by name or by number from 1; found by their usual names if None.

    Raises:
        TransformerError: one line that says what is wrong and in which file.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "new.csv"
        >>> _ = path.write_text("text,channel\\nno refund,mail\\nlate again,chat\\n")
        >>> read_texts(path)
        ['no refund', 'late again']
    """
    path = existing_path(path, "texts")
    if path.is_dir():
        raise TransformerError(f"texts must be a file; {path} is a folder")
    kind = path.suffix.lower()
    if kind == ".txt":
        return [well_formed(line.strip()) for line in split_lines(read_text(path)) if line.strip()]
    if kind not in _TABLES:
        raise TransformerError(
            f"{path} must end in one of .txt, {', '.join(_TABLES)}; got {path.suffix or 'no extension'!r}"
        )
    table = _TABLES[kind](path)
    table = table.without_header() if table.names is None else table
    # The reader of labelled texts finds the columns; the label that it needs beside them is made up.
    names = table.names if _LABEL in table.names else (*table.names, _LABEL)
    place = names.index(_LABEL)
    rows = [[*row[:place], "-", *row[place + 1 :]] for row in table.rows]
    table = Table(table.path, names, rows, table.lines)
    columns = {"text_columns": as_list(text_columns), "label_column": [_LABEL], "label_columns": []}
    return read_split(table, "new", **columns).texts
