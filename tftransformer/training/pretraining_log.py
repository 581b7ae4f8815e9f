"""The log of a pretraining run: a CSV that grows with the run and is cut back where a run goes on earlier."""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from tftransformer import files


class PretrainingLog:
    """`log.csv`: one row every so often.

    Args:
        path: Of the file.
        columns: Names of its columns.
        step: Rows of an existing file beyond this step are dropped; 0 starts anew.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "log.csv"
        >>> log = PretrainingLog(path, ("step", "loss"))
        >>> log.write({"step": 10, "loss": 2.5, "unlisted": 1})
        >>> read_log(path)
        [{'step': 10.0, 'loss': 2.5}]
    """

    def __init__(self, path: str | os.PathLike, columns: tuple[str, ...], step: int = 0) -> None:
        self.path, self.columns = Path(path), columns
        rows = [row for row in read_log(path) if row["step"] <= step] if step and self.path.exists() else []
        files.write_text(self.path, ",".join(columns) + "\n")
        for row in rows:
            self.write(row)

    def write(self, figures: Mapping[str, float]) -> None:
        """Add a row; columns without a figure stay empty."""
        row = [f"{figures[name]:.7g}" if name in figures else "" for name in self.columns]
        with files.disk_errors(self.path), self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerow(row)


def read_log(path: str | os.PathLike) -> list[dict[str, float]]:
    """The rows of a log, without their empty cells."""
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if cell} for row in csv.DictReader(file)]
