"""What is done with a finished run: its report on its own or other rows, and its answers to texts."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tftransformer.data import loading
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import Report, join_labels
from tftransformer.runs.classification import load_splits
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.predictions import texts_to_predict, write_answers
from tftransformer.runs.recorded import recorded_splits
from tftransformer.runs.run_model import load_classifier
from tftransformer.tasks.labelled import Answer


def evaluate(run: str | Path, options: ClassificationOptions | None = None) -> Report:
    """The report of a finished run's model, which is also printed; nothing is written.

    Args:
        run: The run's folder.
        options: The data to evaluate on, as `recorded_options.evaluation_options` makes them. None: the run's own test rows.

    Raises:
        TransformerError: No finished run, data that cannot be read (again), or data without a test split.
    """
    test = _own_test(run) if options is None else _test_of(options)
    classifier = load_classifier(run)
    place = f" ({test.source})" if test.source else ""
    print(f"evaluating {run} on {len(test):,} rows of {test.name}{place} …", flush=True)
    report = classifier.report(test)
    print(report)
    return report


def predict(run: str | Path, texts: Sequence[Any], output: str | Path | None = None) -> list[Answer]:
    """What a finished run's model answers, which is also printed, or written to a file.

    Args:
        run: The run's folder.
        texts: Texts, or pairs of texts.
        output: A CSV file for label and all probabilities of each text; see `predictions.write_answers`.

    Raises:
        TransformerError: No finished run or no text, or the file cannot be written.
    """
    texts = texts_to_predict(texts, None)
    classifier = load_classifier(run)
    answers = classifier.classify(texts)
    if output is not None:
        write_answers(output, texts, answers, classifier.labels)
        print(f"{len(texts):,} answers are in {output}", flush=True)
        return answers
    for text, answer in zip(texts, answers):
        shown = text if isinstance(text, str) else " / ".join(text)
        print(f"{join_labels(answer.label)}\t{max(answer.probabilities.values()):.4f}\t{shown}")
    return answers


def _own_test(run: str | Path) -> Split:
    splits = recorded_splits(run)
    return splits.test if splits.test is not None else splits.validation


def _test_of(options: ClassificationOptions) -> Split:
    """The rows to evaluate on: of a single file, all of it; of a data set, its test split."""
    if options.test_path is not None and options.train_path is None and options.dataset == loading.SAMPLE:
        columns = ("text_columns", "label_column", "label_columns", "label_delimiter")
        found = loading.load(
            train=options.test_path,
            validation_fraction=0.0,
            test_fraction=0.0,
            **{name: getattr(options, name) for name in columns},
        )
        return dataclasses.replace(found.train, name="test")
    test = load_splits(options).test
    if test is None:
        raise TransformerError("evaluate needs a test split; the data have none")
    return test
