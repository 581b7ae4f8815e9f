"""A table as read from a file, and its columns of text and label: by name, by number or by what is left over."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tftransformer.errors import TransformerError, near_miss

TEXT_NAMES = frozenset(
    "sentence review content abstract message body document tweet comment utterance query question passage "
    "description title headline post article input string string1 text_a summary".split()
)
TEXT_ENDINGS = ("_text", "_sentence", "_review", "_content", "_abstract", "_message", "_body", "_document")
LABEL_NAMES = frozenset("labels category class target intent sentiment topic emotion tag y gold quality".split())
LABEL_ENDINGS = ("_label", "_category", "_class", "_target", "_intent")
PAIRS = (
    ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("sentence_a", "sentence_b"),
    ("text1", "text2"), ("text_1", "text_2"), ("text_a", "text_b"), ("premise", "hypothesis"),
    ("question1", "question2"), ("question", "passage"), ("question", "sentence"),
    ("question", "context"), ("query", "passage"), ("query", "document"), ("#1_string", "#2_string"),
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Args:
        path: Path of the file, for messages.
        names: Column names; None where the first row may be a header row or may be data.
        rows: Cells of each row, all rows equally long. Cells of delimited files are str; of JSON files
            str, bool, None, or a list of str (numbers are kept as they were written).
        lines: Line on which each row begins, from 1.
    """

    path: str
    names: tuple[str, ...] | None
    rows: list[Sequence]
    lines: list[int]

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names if self.names is not None else self.rows[0])

    def without_header(self) -> Table:
        """The same table with the first row taken as the names."""
        names = tuple(str(cell).strip() for cell in self.rows[0])
        return Table(self.path, names, self.rows[1:], self.lines[1:])


@dataclass(frozen=True)
class Columns:
    """Positions of one or two text columns and of the label column, or of one column per label."""

    text: tuple[int, ...]
    label: int | None
    labels: tuple[int, ...] = ()


def as_list(value: str | int | Sequence[str | int] | None) -> list[str]:
    """Column names from a list, or from one string in which commas separate them.

    Example:
        >>> as_list("sentence1, sentence2"), as_list([1, 2])
        (['sentence1', 'sentence2'], ['1', '2'])
    """
    if value is None:
        return []
    if isinstance(value, int):
        return [str(value)]
    if isinstance(value, str):
        value = value.split(",")
    return [str(item).strip() for item in value if str(item).strip()]


def choose(
    table: Table, text_columns: list[str], label_column: list[str], label_columns: list[str]
) -> tuple[Table, Columns]:
    """Decide whether the first row is a header and which columns are meant.

    A column is named as in the header, or by number (1 is the first) where no column has that name.
    A column that is not named is found: one called "text" (or "label"), else the only one with a usual name
    for it, else the only one left over.

    Returns:
        The table without its header row, and the columns.

    Raises:
        TransformerError: if a column is unknown, ambiguous or missing; the message lists the columns.
    """
    named = [*text_columns, *label_column, *label_columns]
    header = table.names
    if header is None:
        first = tuple(str(cell).strip() for cell in table.rows[0])
        by_number = bool(named) and all(map(_is_number, named)) and not set(named) <= set(first)
        if by_number and not _looks_like_header(table, first, label_column):
            header = tuple(str(i) for i in range(1, table.width + 1))
            table = Table(table.path, header, table.rows, table.lines)
        else:
            table = table.without_header()
            header = table.names
    if len(text_columns) > 2:
        raise TransformerError(f"text_columns must name one column or two; got {', '.join(text_columns)}")
    if len(label_column) > 1:
        raise TransformerError(
            f"label_column must name one column; got {', '.join(label_column)}"
            " (label_columns takes one 0/1 column for each label)"
        )
    texts = [position(table, "text_columns", name) for name in text_columns]
    label = [position(table, "label_column", name) for name in label_column]
    labels = [position(table, "label_columns", name) for name in label_columns]
    if label and labels:
        raise TransformerError("label_column and label_columns exclude each other; pass one of them")
    taken = {*texts, *label, *labels}
    if len(taken) != len(named):
        raise TransformerError(f"each column can be used once; got {', '.join(named)}")
    if not texts:
        texts, label = _find_texts(table, label, labels)
    if not label and not labels:
        label = [_find_label(table, {*texts})]
    return table, Columns(tuple(texts), label[0] if label else None, tuple(labels))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _looks_like_header(table: Table, first: tuple[str, ...], label_column: list[str]) -> bool:
    """With columns given by number the first row is data, unless its cells say that it is a header."""
    if label_column and 1 <= int(label_column[0]) <= table.width:
        position = int(label_column[0]) - 1
        rest = {str(row[position]).strip() for row in table.rows[1:]}
        if first[position] in rest:
            return False
        if rest and not _is_number(first[position]) and all(map(_is_number, rest)):
            return True
    return any(_is_text(name) or _is_label(name) for name in map(_normal, first))


def _normal(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().casefold())


def _is_text(name: str) -> bool:
    return name == "text" or name in TEXT_NAMES or name.endswith(TEXT_ENDINGS)


def _may_be_text(name: str) -> bool:
    return _is_text(name) or any(name in pair for pair in PAIRS)


def _is_label(name: str) -> bool:
    return name == "label" or name in LABEL_NAMES or name.endswith(LABEL_ENDINGS)


def _listing(table: Table) -> str:
    shown = [name if len(name) <= 30 else name[:29] + "…" for name in table.names[:20]]
    return ", ".join(shown) + (f", … ({len(table.names)} in all)" if len(table.names) > 20 else "")


def position(table: Table, argument: str, name: str) -> int:
    """The place of a column that goes by a name or by its number from 1; `argument` is for messages."""
    if name in table.names:
        _check_unique(table, name)
        return table.names.index(name)
    folded = [i for i, other in enumerate(table.names) if _normal(other) == _normal(name)]
    if len(folded) == 1:
        return folded[0]
    if _is_number(name) and 1 <= int(name) <= table.width:
        return int(name) - 1
    raise TransformerError(
        f"{argument}: {table.path} has no column {name!r}, it has {_listing(table)}{near_miss(name, table.names)}"
    )


def _check_unique(table: Table, name: str) -> None:
    """Raise where several columns have this name, since nobody could say which of them is meant."""
    places = [str(i + 1) for i, other in enumerate(table.names) if other == name]
    if len(places) > 1:
        raise TransformerError(
            f"{table.path}: columns must have different names; {name!r:.40} is that of columns {' and '.join(places)} "
            "(without a header row, name columns by number)"
        )


def _find_texts(table: Table, label: list[int], labels: list[int]) -> tuple[list[int], list[int]]:
    used = {*label, *labels}
    free = _free(table, used, _may_be_text, "text", "text_columns")
    if "text" in free:
        return [free["text"]], label
    pairs = [pair for pair in PAIRS if pair[0] in free and pair[1] in free]
    if len(pairs) == 1:
        return [free[side] for side in pairs[0]], label
    found = [i for name, i in free.items() if _is_text(name) and not _is_label(name)]
    if len(found) == 1 and not pairs:
        return found, label
    if not found and not pairs:
        if not used:
            label = label or [_find_label(table, set())]
        left = [i for i in range(table.width) if i not in {*label, *labels}]
        if len(left) == 1:
            return left, label
    raise _unclear(table, "text", "text_columns", found or sorted({free[s] for p in pairs for s in p}))


def _free(table: Table, used: set[int], wanted: Callable[[str], bool], kind: str, argument: str) -> dict[str, int]:
    """Columns that are left, by their names without regard to case, of which none may be wanted twice."""
    free: dict[str, int] = {}
    for i, name in enumerate(map(_normal, table.names)):
        if i not in used and name in free and wanted(name):
            _check_unique(table, table.names[i])
            raise _unclear(table, kind, argument, [free[name], i])
        if i not in used:
            free[name] = i
    return free


def _find_label(table: Table, used: set[int]) -> int:
    free = _free(table, used, _is_label, "label", "label_column")
    if "label" in free:
        return free["label"]
    found = [i for name, i in free.items() if _is_label(name)]
    if len(found) == 1:
        return found[0]
    if not found and used and len(free) == 1:
        return next(iter(free.values()))
    raise _unclear(table, "label", "label_column", found)


def _unclear(table: Table, kind: str, argument: str, found: list[int]) -> TransformerError:
    if found:
        several = ", ".join(table.names[i] for i in found)
        problem = f"several columns may hold the {kind} ({several})"
    else:
        problem = f"no column looks like a {kind}"
    return TransformerError(
        f"{table.path}: {problem} among {_listing(table)}; name it with {argument}"
        " (by number, from 1, where the file has no header row)"
    )
