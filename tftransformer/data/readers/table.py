"""A table as read from a file, before anyone has decided which column is which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tftransformer.errors import TransformerError


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Args:
        path: For messages.
        names: Column names; None where the first row may be a header row or may be data.
        rows: Cells of each row, all rows equally long. Cells of delimited files are str; of JSON files
            str, bool, None, or a list of str (numbers are kept as they were written).
        lines: Line on which each row begins, from 1.

    Raises:
        TransformerError: Two columns have one name.
    """

    path: str
    names: tuple[str, ...] | None
    rows: list[Sequence]
    lines: list[int]

    def __post_init__(self) -> None:
        # Nobody could say which of them is meant. Columns without a name are never chosen by it.
        twice = [name for name in self.names or () if name and self.names.count(name) > 1]
        if twice:
            places = " and ".join(str(i + 1) for i, name in enumerate(self.names) if name == twice[0])
            raise TransformerError(
                f"{self.path}: columns must have different names; {twice[0]!r:.40} is that of columns {places} "
                "(without a header row, name columns by number)"
            )

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self.names if self.names is not None else self.rows[0])

    def without_header(self) -> Table:
        """The same table with the first row taken as the names."""
        names = tuple(str(cell).strip() for cell in self.rows[0])
        return Table(self.path, names, self.rows[1:], self.lines[1:])
