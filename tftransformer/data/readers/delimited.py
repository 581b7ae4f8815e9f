"""CSV and TSV files.

CSV follows RFC 4180: quoted fields may hold delimiters, line breaks and doubled quotes. A .csv file
whose first line has no comma but has semicolons or tabs is delimited by those.

TSV comes in two dialects that look alike. GLUE's has no quoting: a `"` is a character of the text, and
taking it for a quote swallows the lines up to the next one. Spreadsheets quote as in CSV. The rule here:
a TSV file is quoted if, read as quoted, every `"` in it is in its right place and all rows have equally
many fields, and if there is a sign that quoting was meant: a doubled quote within a quoted field, lines with
unequal numbers of tabs, or a column of which every field is quoted (its header too, if a quoted field holds a
tab or a line break). Otherwise quotes are text.
"""

from __future__ import annotations

import csv
import io
import re
import threading
from pathlib import Path

from tftransformer.data.readers.columns import Table
from tftransformer.data.readers.text_file import read_text, split_lines
from tftransformer.errors import TransformerError

_FIELD = re.compile(r'("[^"]*(?:""[^"]*)*"|[^\t\r\n"]*)(\t|\r\n|\n|\r|\Z)')
_LONGEST_FIELD = 2**31 - 1
_field_limit_lock = threading.Lock()


def read_delimited(path: Path) -> Table:
    """Reads a CSV file, or a TSV file where the extension is .tsv, .tab or .txt.

    Raises:
        TransformerError: with file and line, if quotes are misplaced or a row has too few or too many
            fields, if the file is empty, and as `read_text`.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        first = text.lstrip("\r\n").split("\n", 1)[0]
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
        rows, lines = _read_quoted(path, text, delimiter)
    elif tsv_is_quoted(text):
        rows, lines = _read_quoted(path, text, "\t")
    else:
        numbered = [(i, line) for i, line in enumerate(split_lines(text), 1) if line]
        rows = [line.split("\t") for _, line in numbered]
        lines = [i for i, _ in numbered]
    _check_widths(path, rows, lines)
    return Table(str(path), None, rows, lines)


def _read_quoted(path: Path, text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    rows, lines = [], []
    # The csv module's limit on the length of a field is a setting of the whole process.
    with _field_limit_lock:
        limit = csv.field_size_limit(_LONGEST_FIELD)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        start = 1
        try:
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(start)
                start = reader.line_num + 1
        except csv.Error as error:
            raise TransformerError(
                f"{path}:{start}: misplaced or unclosed quote in the row that begins here ({error})"
            ) from error
        finally:
            csv.field_size_limit(limit)
    return rows, lines


def tsv_is_quoted(text: str) -> bool:
    """Return whether the quotes in a TSV text quote fields (the module's docstring has the rule).

    Example:
        >>> tsv_is_quoted('"so ""good"" it is"\\t1\\n'), tsv_is_quoted('a 5" disk\\t1\\n')
        (True, False)
    """
    if '"' not in text:
        return False
    rows: list[list[bool]] = [[]]
    doubled = spanning = False
    position, end = 0, len(text.rstrip("\r\n"))
    while position <= end:
        match = _FIELD.match(text, position)
        if match is None:
            return False
        cell, mark = match.groups()
        quoted = cell.startswith('"')
        doubled = doubled or (quoted and '"' in cell[1:-1])
        spanning = spanning or (quoted and not cell.isprintable() and any(c in cell for c in "\t\r\n"))
        rows[-1].append(quoted)
        if mark != "\t":
            rows.append([])
        position = match.end() if match.end() > position else position + 1
    rows = [row for row in rows if row and (len(row) > 1 or row[0] or len(rows[0]) == 1)]
    if len({len(row) for row in rows}) != 1:
        return False
    body = rows if spanning or len(rows) == 1 else rows[1:]
    whole_column = any(all(column) for column in zip(*body, strict=True))
    ragged = len({line.count("\t") for line in split_lines(text) if line}) > 1
    return doubled or whole_column or ragged


def _check_widths(path: Path, rows: list[list[str]], lines: list[int]) -> None:
    width = len(rows[0])
    for row, line in zip(rows, lines, strict=True):
        if len(row) != width:
            fields = f"{len(row)} field{'s' if len(row) != 1 else ''}"
            raise TransformerError(f"{path}:{line}: {fields}, but the first row has {width}")
