"""Runs of `regress`: texts or pairs of texts, and a number or several for each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.data import loading
from tftransformer.data.split import Splits
from tftransformer.evaluation.regression_plots import plot_predictions
from tftransformer.evaluation.regression_report import RegressionReport
from tftransformer.evaluation.reports import write_rows
from tftransformer.runs.finished import PredictingRun
from tftransformer.runs.regression_options import RegressionOptions
from tftransformer.tasks.text_regressor import TextRegressor


class RegressionRun(PredictingRun):
    """A run of `regress`."""

    task_class = TextRegressor
    options_class = RegressionOptions

    @classmethod
    def load(cls, options: RegressionOptions, **fractions: float) -> Splits:
        return loading.load(
            **options.data_paths,
            numeric=True,
            text_columns=options.text_columns,
            seed=options.seed,
            **options.label_arguments(),
            **fractions,
        )

    def settings(self) -> dict[str, Any]:
        options, train = self.options, self.splits.train
        return {
            "names": options.names or train.columns.get("label") or None,
            "levels": options.levels,
            "text_pairs": train.is_pair,
            "pooling": options.pooling,
        }

    def config(self) -> dict[str, Any]:
        return {**super().config(), "columns": self.splits.train.columns}

    def reported(self, report: RegressionReport, outputs: np.ndarray) -> tuple[list[str], dict[str, Any]]:
        title = f"{self.folder.name}: {len(self.test):,} {self.test.name} texts"
        plot_predictions(self.test.targets, outputs, self.folder.scatter_path, self.task.names, title=title)
        return [], {}

    # Answers.

    @classmethod
    def answers(cls, task: TextRegressor, texts: Sequence[Any]) -> np.ndarray:
        return np.reshape(task.predict(texts, verbose=0), (len(texts), len(task.names)))

    @classmethod
    def shown(cls, task: TextRegressor, text: Any, answer: np.ndarray) -> str:
        numbers = "\t".join(f"{number:.4f}" for number in answer)
        return f"{numbers}\t{text if isinstance(text, str) else ' / '.join(text)}"

    @classmethod
    def write(cls, path: str | Path, task: TextRegressor, texts: Sequence[Any], answers: np.ndarray) -> None:
        columns, rows = list(task.names), [[f"{number:.6g}" for number in row] for row in answers]
        if task.objective.levels is not None:
            columns += [f"{name}_level" for name in task.names]
            nearest = task.objective.nearest(answers)
            rows = [[*row, *(f"{level:g}" for level in levels)] for row, levels in zip(rows, nearest, strict=True)]
        write_rows(path, texts, columns, rows)
