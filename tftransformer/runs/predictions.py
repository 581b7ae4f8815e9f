"""Texts to predict for, thresholds of a run, and the file of answers: what `--mode=predict` reads and writes."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tftransformer.data.readers.unlabelled import read_texts
from tftransformer.data.split import Text
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import join_labels, write_rows
from tftransformer.finetuning.arguments import check_number
from tftransformer.runs.options import options_of
from tftransformer.runs.run_folder import RunFolder


def pair_up(texts: Sequence[str] | None, second: Sequence[str] | None) -> list[Text]:
    """Texts, or pairs of texts where second texts are given."""
    if not second:
        return list(texts or [])
    if len(second) != len(texts or []):
        raise TransformerError(
            f"text_pair must be given once for each text, {len(texts or [])} times; got {len(second)}"
        )
    return list(zip(texts, second))


def texts_to_predict(
    given: Sequence[Text], path: str | os.PathLike | None, text_columns: Sequence[str] | None = None
) -> list[Text]:
    """Texts that were given one by one, or those of a file."""
    if path is None:
        if not given:
            raise TransformerError('predict needs a text: pass --text="..." once or more, or --texts=FILE')
        return list(given)
    if given:
        raise TransformerError("text cannot go with texts: give texts one by one, or a file of them")
    return read_texts(path, text_columns)


def check_output(path: str | os.PathLike, overwrite: bool = False, ending: str = ".csv") -> None:
    """Refuse a file of answers that could not be written when the answers are there."""
    path = Path(path)
    if path.suffix.lower() != ending:
        raise TransformerError(f"output must end in {ending}; got {os.fspath(path)!r}")
    if path.is_dir() or path.exists() and not overwrite:
        what = "is a folder" if path.is_dir() else "exists: pass overwrite=True to replace it"
        raise TransformerError(f"output must be a new file; {path} {what}")
    folder = path.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        what = "cannot be written" if folder.is_dir() else "does not exist"
        raise TransformerError(f"output must be in a folder that can be written; {folder} {what}")


class Thresholds(NamedTuple):
    """Arguments of `classify`: from which probabilities on a text gets its label, and a label is in the text's set."""

    min_probability: float = 0.0
    label_set_threshold: float | None = None


def thresholds_of(
    run: str | os.PathLike | None,
    min_probability: float = 0.0,
    min_accuracy: float | None = None,
    label_sets: float | None = None,
) -> Thresholds:
    """The thresholds that a finished run found on its validation rows, which stand in its report.

    Args:
        run: The run's folder, which is read where one of the following is given.
        min_probability: In place of `min_accuracy`: the threshold itself (between 0 and 1).
        min_accuracy: Fraction of the answers with a label that is to be right; one of those in the report.
        label_sets: Fraction of the texts whose set of labels is to hold the right one; one of those in the report.

    Raises:
        TransformerError: The run has no such thresholds, or `min_accuracy` stands beside `min_probability`.

    Example:
        >>> from tftransformer.runs.options import ClassificationOptions
        >>> confidence = {"held_out": 90, "answers": {}, "sets": {"0.9": {"threshold": 0.127}}}
        >>> with RunFolder.create("runs/tickets-1", config=ClassificationOptions().as_config()) as run:
        ...     run.finish({"confidence": confidence})
        >>> thresholds_of("runs/tickets-1", label_sets=0.9)
        Thresholds(min_probability=0.0, label_set_threshold=0.127)
    """
    check_number("min_probability", min_probability, "between 0 and 1", lambda value: 0 <= value <= 1)
    if min_accuracy is not None and min_probability:
        raise TransformerError("min_accuracy cannot go with min_probability: the run has a probability for it")
    asked = {"min_accuracy": ("answers", min_accuracy), "label_sets": ("sets", label_sets)}
    found: dict[str, float] = {}
    for argument, (section, wanted) in asked.items():
        if wanted is not None:
            found[argument] = _threshold(RunFolder.open(run, argument="model"), argument, section, wanted)
    return Thresholds(found.get("min_accuracy", min_probability), found.get("label_sets"))


def _threshold(run: RunFolder, argument: str, section: str, wanted: float) -> float:
    confidence = _confidence(run, argument)
    known = {float(key): row["threshold"] for key, row in confidence[section].items()}
    if wanted not in list(known):
        raise TransformerError(
            f"{argument} must be one of {', '.join(map(str, known))}, which {run.path} has thresholds for; got {wanted!r}"
        )
    if not known[wanted]:  # None for answers; 0, by which every set holds every label
        able = ", ".join(str(key) for key, threshold in known.items() if threshold)
        raise TransformerError(
            f"{argument}={wanted} is more than the held-out rows of {run.path} ({confidence['held_out']:,}) can promise; "
            f"they have {f'thresholds for {able}' if able else 'a threshold for none'}"
        )
    return known[wanted]


def _confidence(run: RunFolder, argument: str) -> dict[str, Any]:
    """Return the section on confidence of the run's metrics, with thresholds in it."""
    options_of(run)  # refuses what is no run of one classifier
    metrics = run.metrics
    if "sets" in (found := metrics.get("confidence", {})):
        return found
    if "subset_accuracy" in metrics["test"]:
        raise TransformerError(f"{argument} is for one label a text; those of {run.path} have several")
    trained = metrics["train"]
    if "temperature" not in trained:
        why = "which was saved before runs had some: train it again"
    elif trained["temperature"] is None:
        why = "which had no validation rows to find some on"
    else:
        why = "which had no test rows beside its validation rows"
    raise TransformerError(f"{argument} needs a run with thresholds in its report; got {run.path}, {why}")


def write_answers(
    path: str | os.PathLike, texts: Sequence[Text], answers: Iterable[Any], labels: Sequence[str]
) -> None:
    """Write a CSV file (RFC 4180, UTF-8), one row a text, that appears whole or not at all.

    Half a surrogate pair, which a shell may hand over and UTF-8 cannot hold, is written as its backslash escape.

    Columns: `text` (pairs: `text`, `text_pair`), `label` (several joined by "|" as `join_labels` does; empty where none is
    likely enough), `label_set` where sets were asked for (joined likewise, the likeliest first), and `probability_LABEL` for
    each label of the classifier, six decimals.
    """
    answers = list(answers)
    sets = any(answer.label_set is not None for answer in answers)
    columns = ("label", *(["label_set"] if sets else []), *(f"probability_{label}" for label in labels))
    rows = (
        [
            "" if answer.label is None else join_labels(answer.label),
            *([join_labels(answer.label_set)] if sets else []),
            *(f"{answer.probabilities[label]:.6f}" for label in labels),
        ]
        for answer in answers
    )
    write_rows(path, texts, columns, rows)
