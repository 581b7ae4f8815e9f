"""Finished runs of classification, and of those that go on with one: their model, their data, reports and answers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tftransformer.data.dedup import dedup_key
from tftransformer.data.split import Split, Splits
from tftransformer.data.splitting import subset
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import Report
from tftransformer.objectives.classification import Prediction
from tftransformer.runs import finished
from tftransformer.runs.classification import ClassificationRun, load_splits
from tftransformer.runs.documents import with_test_examples
from tftransformer.runs.finished import check_unchanged, report_on, test_rows
from tftransformer.runs.options import ClassificationOptions, DocumentOptions, options_of
from tftransformer.runs.predictions import texts_to_predict, thresholds_of
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.train import tested_split
from tftransformer.tasks.text_classifier import TextClassifier


def evaluate(run: str | Path, options: ClassificationOptions | None = None) -> Report:
    """The report of a finished run's model, which is also printed; nothing is written.

    Args:
        run: The run's folder.
        options: The data to evaluate on, as `TaskOptions.to_evaluate` makes them. None: the run's own test rows.
    """
    if options is None:
        splits = run_splits(run)
        test = getattr(splits, tested_split(splits))
    else:
        test = test_rows(ClassificationRun, options)
    return report_on(run, load_classifier(run), test)


def predict(
    run: str | Path,
    texts: Sequence[Any],
    output: str | Path | None = None,
    min_probability: float = 0.0,
    min_accuracy: float | None = None,
    label_sets: float | None = None,
) -> list[Prediction]:
    """Return a finished run's model's answers, which are also printed, or written to a file.

    Args:
        run: The run's folder.
        texts: Texts, or pairs of them.
        output: A CSV file in place of the screen.
        min_probability: Leave the label of less likely answers out (between 0 and 1).
        min_accuracy: The same by the run's own threshold for such a fraction of right answers.
        label_sets: Give each text its set of labels, too, by the run's own threshold for sets of which such a fraction
            holds the right label.

    Raises:
        TransformerError: It is no run of one classifier, or `predictions.thresholds_of` finds no such threshold in it.
    """
    texts = texts_to_predict(texts, None)
    thresholds = thresholds_of(run, min_probability, min_accuracy, label_sets)
    return finished.predict(ClassificationRun, run, texts, output, **thresholds._asdict())


def load_classifier(run: str | Path) -> TextClassifier:
    """The classifier of a run of `classify` or `classify_documents`, also of an interrupted one that left its model.

    Example:
        >>> load_classifier("runs/sample-1").predict(["He has a rash."])  # doctest: +SKIP
    """
    return finished.load_task(ClassificationRun, run)


def run_splits(run: str | Path) -> Splits:
    """The splits that a finished run trained and reported on, those of the run it went on with included."""
    folder = RunFolder.open_model(run, argument="a run")
    options = options_of(folder)
    try:
        splits = load_splits(options)
        if isinstance(options, DocumentOptions):
            splits = with_test_examples(splits, options)
        if options.init_from is not None:
            old = run_splits(options.init_from)
            splits = merged(old, without(splits, old))
    except TransformerError as error:
        raise TransformerError(f"the data of {folder.path} cannot be read again: {error}") from None
    check_unchanged(folder, splits)
    if options.train_examples is not None and options.train_examples < len(splits.train):
        splits = splits._replace(train=subset(splits.train, options.train_examples, options.seed))
    return splits


def without(splits: Splits, known: Splits) -> Splits:
    """The rows whose text, folded, stands nowhere in other splits; validation or test is None where none is left."""
    seen = {dedup_key(text) for split in known.present().values() for text in split.texts}

    def new_rows(split: Split | None) -> Split | None:
        if split is None:
            return None
        return split.take(i for i, text in enumerate(split.texts) if dedup_key(text) not in seen)

    train, *others = (new_rows(split) for split in splits)
    return Splits(train, *(split if split else None for split in others))


def merged(old: Splits, new: Splits) -> Splits:
    """The rows of both, split by split, the old ones first."""
    kinds = [(splits.train.is_pair, splits.train.multi_label) for splits in (old, new)]
    if len(new.train) and kinds[0] != kinds[1]:
        words = [
            f"{'pairs' if pair else 'texts'} with {'several labels' if multi else 'one label'} each"
            for pair, multi in kinds
        ]
        raise TransformerError(f"new rows must be like the old ones, {words[0]}; got {words[1]}")
    return Splits(*map(joined, old, new))


def joined(first: Split | None, second: Split | None) -> Split | None:
    """The rows of one split and those of another; None where there is neither."""
    if first is None or second is None:
        return second if first is None else first
    return Split(
        [*first.texts, *second.texts],
        [*first.targets, *second.targets],
        first.name,
        first.multi_label,
        source=" and ".join(dict.fromkeys(filter(None, (first.source, second.source)))),
        columns=first.columns,
    )
