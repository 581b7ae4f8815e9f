"""Options of `regress`, checked without Keras; its flags are made from the fields."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from tftransformer.runs.flags import option
from tftransformer.runs.task_options import TextOptions


@dataclasses.dataclass(frozen=True)
class RegressionOptions(TextOptions):
    """Everything that decides a run of `regress`.

    Raises:
        TransformerError: A number out of range, or an unknown name, before any data are read.
    """

    command = "regress"
    columns = ("text_columns", "label_columns")

    dataset: str = option(
        "sample_rated",
        "A CSV, TSV, JSONL or Parquet file with a column of numbers, a folder with one file a split, 'sample_rated', or "
        "'tfds:NAME'.",
    )
    label_columns: Sequence[str] | None = option(
        None,
        "The column of the number, or several; by name, or by number from 1; default: found by its name.",
        argument="label_column",
    )
    names: Sequence[str] | None = option(None, "What each number is called; default: as its column.")
    levels: Sequence[float] | None = option(
        None, "Of ratings, the steps of their scale; reports then count nearest levels, too."
    )
    early_stopping: int = option(
        0, "Stop after this many epochs without a lower validation MAE and keep the best weights; 0: never.", least=0
    )

    def label_arguments(self) -> dict[str, Any]:
        """Arguments of a loader that name the columns of the numbers: one, or several."""
        given = list(self.label_columns or ())
        return {"label_columns": given} if len(given) > 1 else {"label_column": given[0] if given else None}
