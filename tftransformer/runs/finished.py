"""Finished runs of any task: their model, their test rows, their report on any rows, their answers to texts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.progress import say
from tftransformer.runs.predictions import texts_to_predict
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.train import TrainingRun, fingerprints, tested_split
from tftransformer.tasks.loading import load


class PredictingRun(TrainingRun):
    """A run whose model answers to texts when it has finished."""

    @classmethod
    def answers(cls, task: Any, texts: Sequence[Any], **settings: Any) -> Any:
        """Return the task's answers to the texts; the settings are those that `predict` was given."""
        raise NotImplementedError

    @classmethod
    def shown(cls, task: Any, text: Any, answer: Any) -> str:
        """The answer to one text, for the screen."""
        raise NotImplementedError

    @classmethod
    def write(cls, path: str | Path, task: Any, texts: Sequence[Any], answers: Any) -> None:
        """Write a file of answers, which appears whole or not at all."""
        raise NotImplementedError


def evaluate(kind: type[PredictingRun], run: str | Path, options: Any = None) -> Any:
    """The report of a finished run's model, which is also printed; nothing is written.

    Args:
        kind: Class of the command's runs.
        run: The run's folder.
        options: The data to evaluate on, as `TaskOptions.to_evaluate` makes them. None: the run's own test rows.
    """
    if options is None:
        splits = read_again(kind, run)
        test = getattr(splits, tested_split(splits))
    else:
        test = test_rows(kind, options)
    return report_on(run, load_task(kind, run), test)


def report_on(run: str | Path, task: Any, test: Any) -> Any:
    """The report of a run's task on labelled rows, which is also printed."""
    place = f" ({test.source})" if test.source else ""
    say(f"evaluating {run} on {len(test):,} rows of {test.name}{place} …")
    report = task.report(test)
    print(report)
    return report


def predict(
    kind: type[PredictingRun], run: str | Path, texts: Sequence[Any], output: str | Path | None = None, **settings: Any
) -> Any:
    """Return a finished run's model's answers, which are also printed, or written to a file.

    Args:
        kind: Class of the command's runs.
        run: The run's folder.
        texts: Texts, or pairs of them.
        output: A file in place of the screen.
        settings: Of `PredictingRun.answers`.
    """
    texts = texts_to_predict(texts, None)
    task = load_task(kind, run)
    answers = kind.answers(task, texts, **settings)
    if output is not None:
        kind.write(output, task, texts, answers)
        say(f"{len(texts):,} answers are in {output}")
        return answers
    for text, answer in zip(texts, answers, strict=True):
        print(kind.shown(task, text, answer))
    return answers


def load_model(run: str | Path) -> Any:
    """The task of a run, also of an interrupted one that left its model."""
    folder = RunFolder.open_model(run)
    if folder.status != "finished":
        say(f"{folder.path} is {folder.status}: its model is what was trained until then")
    return load(folder.model_path)


def load_task(kind: type[TrainingRun], run: str | Path) -> Any:
    """The task of a run of one kind.

    Raises:
        TransformerError: It is no run of such a task.
    """
    task = load_model(run)
    if not isinstance(task, kind.task_class):
        raise TransformerError(
            f"model must be a run of {kind.options_class.command}; {run} holds a {type(task).__name__}"
        )
    return task


def test_rows(kind: type[TrainingRun], options: Any) -> Any:
    """The rows to evaluate on: of a single file, all of it; of a data set, its test split."""
    if options.test_path is not None and options.train_path is None and options.is_sample:
        alone = dataclasses.replace(options, train_path=options.test_path, test_path=None)
        found = kind.load(alone, validation_fraction=0.0, test_fraction=0.0)
        return dataclasses.replace(found.train, name="test")
    test = kind.read(options).test
    if test is None:
        raise TransformerError("evaluate needs a test split; the data have none")
    return test


def read_again(kind: type[TrainingRun], run: str | Path) -> Any:
    """The splits that a finished run trained and reported on.

    Raises:
        TransformerError: They cannot be read, or have changed since.
    """
    folder = RunFolder.open_model(run, argument="a run")
    options = kind.options_class.of_run(folder)
    try:
        splits = kind.read(options)
    except TransformerError as error:
        raise TransformerError(f"the data of {folder.path} cannot be read again: {error}") from None
    check_unchanged(folder, splits)
    return splits


def check_unchanged(folder: RunFolder, splits: Any) -> None:
    """Raise a `TransformerError` where splits are not those that the run has noted."""
    # A run that ended early has not noted them.
    metrics = folder.metrics if folder.status == "finished" else {}
    trained, found = metrics.get("data", {}).get("fingerprints"), fingerprints(splits)
    if trained is not None and trained != found:
        changed = next(name for name in {**trained, **found} if trained.get(name) != found.get(name))
        raise TransformerError(
            f"the data of {folder.path} have changed since: what it names holds other {changed} rows now, and what it was "
            "trained on cannot be told from what it was not"
        )
