"""Going on with a finished run: its model, settings and rows, and new rows beside them."""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tftransformer import files
from tftransformer.data.examples import Examples
from tftransformer.data.labels import sort_labels
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation.intervals import mcnemar, right_answers
from tftransformer.evaluation.reports import Report, text_table
from tftransformer.progress import say
from tftransformer.runs.classification import ClassificationRun, load_splits
from tftransformer.runs.finished_runs import merged, run_splits, without
from tftransformer.runs.options import ClassificationOptions, options_of
from tftransformer.runs.run_folder import RunFolder
from tftransformer.tasks.text_classifier import TextClassifier


def train(options: ClassificationOptions) -> Report:
    """Train a finished run's model further on its rows and new ones; report both test sets before and after.

    New rows whose text stands among the old ones, in whatever split, are left out: what was trained on is no test.

    Returns:
        The report on both test sets together. Each alone, before and after, is printed, and stands in report.txt and
        in metrics.json under `continued`.
    """
    folder = RunFolder.open(options.init_from, argument="init_from")
    _check_output(options, folder)
    say(f"going on with {folder.path}; first its own rows")
    old = run_splits(folder.path)
    given = load_splits(options)
    new = without(given, old)
    known = sum(map(len, given.present().values())) - sum(map(len, new.present().values()))
    if known:
        say(f"{known} of the new rows are left out: their texts stand among the old ones")
    if not len(new.train):
        raise TransformerError(f"init_from needs new rows; all texts of {new.train.source} stand in {folder.path}")
    together = merged(old, new)
    previous = TextClassifier.from_preset(folder.model_path)
    added = _added_labels(together, previous.labels, options.add_labels)
    build = functools.partial(_build, folder, added)
    del previous
    say(f"{len(old.train):,} old and {len(new.train):,} new rows to train on")
    tests = {"old": old.test or old.validation, "new": new.test or new.validation}
    watch = BothTests({name: split for name, split in tests.items() if split})
    return ClassificationRun(options, together, build, watch).train()


def _check_output(options: ClassificationOptions, folder: RunFolder) -> None:
    """Raise if the run would take the place of one from which its rows are read again later."""
    while options.output_dir:
        if os.path.realpath(options.output_dir) == os.path.realpath(folder.path):
            raise TransformerError(
                f"output_dir must be another folder than {folder.path}, which init_from goes on with: its rows are read "
                "from there again"
            )
        earlier = options_of(folder, over_chunks=False).init_from
        if earlier is None:
            return
        folder = RunFolder.open(earlier)


class BothTests:
    """Figures of a classifier on several test sets, before and after it is trained."""

    def __init__(self, tests: Mapping[str, Split]) -> None:
        self._tests = dict(tests)
        self._before: dict[str, dict[str, Any]] = {}

    def before(self, classifier: TextClassifier, examples: Mapping[str, Examples]) -> None:
        """Take the figures before training."""
        say("evaluating the model as it is, on both test sets …")
        self._examples = {name: classifier.preprocess(split) for name, split in self._tests.items()}
        self._before = self._figures(classifier)

    def after(self, classifier: TextClassifier, run: RunFolder, right: np.ndarray) -> dict[str, Any]:
        """Take them again, print the table, add it to the run's report.

        Returns:
            `continued`: for each test set `before` and `after` (as in the section `test`), rows `corrected` and `broken`, and
            the p-value of McNemar's exact test.
        """
        found, figures = {}, self._figures(classifier)
        for name, new in figures.items():
            old = self._before[name]
            was, now = old.pop("right"), new.pop("right")
            corrected, broken = int((~was & now).sum()), int((was & ~now).sum())
            counts = {"corrected": corrected, "broken": broken, "p_value": mcnemar(was, now)}
            found[name] = {"before": old, "after": new, **counts}
        text = comparison_text(found)
        say(f"\n{text}")
        report = run.report_path.read_text("utf-8")
        files.write_text(run.report_path, f"{report}\n{text}\n")
        return {"continued": found}

    def _figures(self, classifier: TextClassifier) -> dict[str, dict[str, Any]]:
        return {name: _figures(classifier, split, self._examples[name]) for name, split in self._tests.items()}


def comparison_text(found: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the result of `BothTests.after` as readable text."""
    rows = [["", "texts", "accuracy", "macro F1", "corrected", "broken", "p"]]
    for name, row in found.items():
        moves = [f"{row['before'][key]:.4f} -> {row['after'][key]:.4f}" for key in ("accuracy", "macro_f1")]
        counts = [str(row["corrected"]), str(row["broken"]), f"{row['p_value']:.3f}"]
        rows.append([f"{name} test", f"{row['after']['examples']:,}", *moves, *counts])
    return (
        f"Before and after going on\n{text_table(rows)}\n"
        "p: that as many answers or more would turn right rather than wrong, or the reverse, by chance (McNemar)."
    )


def _figures(classifier: TextClassifier, split: Split, examples: Examples) -> dict[str, Any]:
    probabilities = classifier.predict(examples, verbose=0)
    right = right_answers(classifier.predicted_labels(probabilities), split.targets)
    return {**classifier.objective.metrics_of(examples, probabilities), "right": right}


def _added_labels(splits: Splits, known: Sequence[str], allowed: bool) -> tuple[str, ...]:
    added = tuple(label for label in splits.train.labels if label not in known)
    if added and not allowed:
        raise TransformerError(
            f"new rows must have labels that the run knows, {', '.join(known)[:80]}; got {added[0]!r}"
            f"{near_miss(added[0], known)} (add_labels adds it to the head)"
        )
    return added


def _build(folder: RunFolder, added: Sequence[str], options: ClassificationOptions, _: Split) -> TextClassifier:
    """The run's model; where labels are added, with rows of their own in its head, the others as they were."""
    say(f"loading {folder.model_path} …")
    # No length is stated unless it was: the preset has its own.
    length = {} if options.sequence_length is None else {"sequence_length": options.sequence_length}
    arguments = {"seed": options.seed, "dtype": options.dtype, **length}
    classifier = TextClassifier.from_preset(folder.model_path, **arguments)
    if not added:
        return classifier
    say(f"added to the head: {', '.join(added)}")
    task = {name: getattr(classifier, name) for name in ("multi_label", "threshold", "text_pairs")}
    labels = sort_labels([*classifier.labels, *added])
    wider = TextClassifier.from_preset(folder.model_path, labels, **arguments, **task)
    columns = [labels.index(label) for label in classifier.labels]
    for new, old in zip(wider.head.logits.weights, classifier.head.logits.weights, strict=True):
        values = keras.ops.convert_to_numpy(new).copy()
        values[..., columns] = keras.ops.convert_to_numpy(old)
        new.assign(values)
    return wider
