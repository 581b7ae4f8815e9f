"""A table as read from a file, before anyone has decided which column is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Args:
        path: For messages.
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
