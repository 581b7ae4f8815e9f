"""One classification run from data to a reported, saved and exported model, as `classify` runs it."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tftransformer.data import loading
from tftransformer.data.split import Split, Splits
from tftransformer.errors import TransformerError
from tftransformer.evaluation import plots
from tftransformer.evaluation.calibration import Confidence
from tftransformer.evaluation.intervals import right_answers
from tftransformer.evaluation.reports import Report, join_labels
from tftransformer.objectives.classification import Prediction
from tftransformer.progress import say
from tftransformer.runs.advice import below_baseline
from tftransformer.runs.finished import PredictingRun
from tftransformer.runs.label_check import check_labels
from tftransformer.runs.options import COLUMNS, ClassificationOptions
from tftransformer.runs.predictions import write_answers
from tftransformer.runs.progress_lines import ProgressLines
from tftransformer.runs.report_budget import COUNTING, ReportBudget, count_words
from tftransformer.runs.time_limit import TimedResult, train_within
from tftransformer.runs.train import build_task, tested_split
from tftransformer.tasks.text_classifier import TextClassifier

# Seconds for plots and files, and what the export takes, as a multiple of what tracing the network does.
_FINISHING, _EXPORTING = 3.0, 1.5


class ClassificationRun(PredictingRun):
    """A run of `classify`, which may be bound to end within some minutes.

    Args:
        options: The run; its paths of data are not looked at.
        splits: The data.
        build: Function from the options and the training rows to the classifier; None: as the options say.
        watch: Object with two methods: `before(classifier, examples)`, called with the examples by split ahead of
            training, and `after(classifier, run, right)`, with (B,) which test rows are right; its result is added to the
            run's metrics.
    """

    task_class = TextClassifier
    options_class = ClassificationOptions

    def __init__(
        self,
        options: ClassificationOptions,
        splits: Splits,
        build: Callable[[ClassificationOptions, Split], TextClassifier] | None = None,
        watch: Any = None,
    ) -> None:
        super().__init__(options, splits)
        self._build, self._watch = build, watch
        # Of a run within some minutes, what it leaves out and what it found.
        self._limit: ReportBudget | None = None
        self._found: TimedResult | None = None

    @classmethod
    def load(cls, options: ClassificationOptions, **fractions: float) -> Splits:
        columns = {name: getattr(options, name) for name in COLUMNS}
        return loading.load(**options.data_paths, seed=options.seed, **columns, **fractions)

    def check(self) -> None:
        super().check()
        if self.options.check_labels and self.splits.train.multi_label:
            raise TransformerError("check_labels is for one label a text; the data have several")
        if self.options.minutes and self.splits.validation is None:
            raise TransformerError("minutes needs a validation split; the data have none")

    def build(self) -> TextClassifier:
        return super().build() if self._build is None else self._build(self.options, self.splits.train)

    def settings(self) -> dict[str, Any]:
        return classifier_settings(self.options, self.splits.train)

    def config(self) -> dict[str, Any]:
        config = super().config() if self.options.minutes is None else self.options.as_config()
        return {**config, "columns": self.splits.train.columns}

    # Before and in training.

    def prepare(self) -> None:
        if self.options.check_labels:
            say("looking for labels that are probably wrong …")
            errors = check_labels(self.task, self.splits.train, self.examples["train"], self.options.seed)
            say(errors)
            errors.write(self.folder.label_errors_path)
        if self._watch is not None:
            self._watch.before(self.task, self.examples)
        if self.options.minutes is not None:
            self._limit = ReportBudget(self.task, self.splits, self.examples, self.options, self.begun)
            self.splits, self.examples = self._limit.splits, self._limit.examples

    def fit(self) -> list[dict[str, float]]:
        if self._limit is None:
            return super().fit()
        self._found = self._fit_within(self._limit)
        self.trained["trials"] = [dataclasses.asdict(trial) for trial in self._found.trials]
        return self._found.epochs

    def _fit_within(self, limit: ReportBudget) -> TimedResult:
        """As well as the minutes allow; each model that is the best so far is saved."""
        task, options = self.task, self.options
        texts = {name: len(part) for name, part in self.examples.items()}
        return train_within(
            task,
            self.examples["train"],
            self.examples["validation"],
            max((limit.end - time.monotonic()) / 60, 1e-3),
            self.recipe,
            methods=not options.has_strategy,
            rates=options.learning_rate is None,
            compile_options=options.compile_arguments(),
            fit_options=self.fit_arguments(),
            callbacks=lambda: [ProgressLines(every_epoch=False)],
            # To calibrate, to choose thresholds, and to test.
            rows_after=2 * texts["validation"] + (0 if options.test_all else texts.get("test", 0)),
            seconds_after=_FINISHING + _EXPORTING * limit.speed.tracing,
            speed=limit.speed,
            keep=lambda: task.save_to_preset(self.folder.model_path, overwrite=True),
            say=say,
        )

    def tune(self) -> None:
        validation = self.examples.get("validation")
        self.trained["temperature"] = None
        if validation is None:
            return
        self.trained["temperature"] = temperature = self.task.calibrate(validation)
        say(f"calibrated on validation: temperature {temperature:.2f}")
        if self.task.multi_label:
            say(f"threshold tuned on validation: {self.task.tune_threshold(validation):.3f}")

    # Behind training.

    def baselines(self) -> list[dict[str, Any]]:
        if self._limit is not None:
            return [self._limit.baseline]
        say(COUNTING)
        return [count_words(self.task, self.splits, self.examples, self.options)]

    def reported(self, report: Report, outputs: np.ndarray) -> tuple[list[str], dict[str, Any]]:
        confidence = self._confidence(outputs)
        notes = "" if self._limit is None else self._limit.notes(self.folder)
        title = f"{self.folder.name}: {len(self.test):,} {self.test.name} texts, accuracy {report['accuracy']:.3f}"
        labels, targets = self.task.labels, self.examples[tested_split(self.splits)].targets.values
        plots.plot_confusion_matrix(self.folder.confusion_matrix_path, report["confusion_matrix"], labels, title=title)
        plots.plot_roc(self.folder.roc_path, targets, outputs, labels, title=title)
        more = {}
        if confidence is not None:
            plots.plot_confidence(self.folder.confidence_path, confidence, title=title)
            more["confidence"] = confidence.metrics
        return [notes, str(confidence or ""), self._tried(), self._advice(report)], more

    def _confidence(self, outputs: np.ndarray) -> Confidence | None:
        """Return the `Confidence` on the test rows; None without separate validation rows to choose it on."""
        temperature = self.trained["temperature"]
        if temperature is None or tested_split(self.splits) != "test":
            return None
        held_out, tested = self.examples["validation"], self.examples["test"]
        chosen_on = (held_out.targets.values, self.task.predict(held_out, verbose=0))
        return Confidence(chosen_on, (tested.targets.values, outputs), temperature)

    def _tried(self) -> str:
        """Return the report's text on what was tried within the minutes."""
        if self._found is None:
            return ""
        tried = f"Tried within {self.options.minutes:g} minutes:\n{self._found}"
        if minutes := self._minutes_wanted():
            tried += f"\nThere was no time for the updates that so many rows want: --minutes={minutes} has it."
        return tried

    def _minutes_wanted(self) -> int | None:
        if self._found is None or not self._found.missing:
            return None
        return math.ceil(self.options.minutes + self._found.missing / 60)

    def _advice(self, report: Report) -> str:
        """Return advice on what to try where word counting was better."""
        epochs = len(self.trained["epochs"])
        course = {
            "learning_rate": self.recipe.learning_rate,
            "epochs": self.recipe.epochs,
            "epochs_run": epochs,
            "rows": self.recipe.rows,
            "updates_run": None,
        }
        if self._found is not None:
            best = self._found.best
            course |= {"epochs": epochs, "updates_run": best.updates, "minutes": self._minutes_wanted()}
            course["learning_rate"] = best.learning_rate or self.recipe.learning_rate
        usual = self.options.fine_tuning().learning_rate(self.task.recommended_hparams)
        data = self.data.to_dict()["splits"]["train"]
        return below_baseline(report, self.options, course, data, usual, self.task.config.max_sequence_length)

    def watched(self, outputs: np.ndarray) -> dict[str, Any]:
        if self._watch is None:
            return {}
        right = right_answers(self.task.predicted_labels(outputs), self.test.targets)
        return self._watch.after(self.task, self.folder, right)

    # Answers.

    @classmethod
    def answers(cls, task: TextClassifier, texts: Sequence[Any], **thresholds: Any) -> list[Prediction]:
        return task.classify(texts, **thresholds)

    @classmethod
    def shown(cls, task: TextClassifier, text: Any, answer: Prediction) -> str:
        label = "-" if answer.label is None else join_labels(answer.label)
        columns = [label, f"{max(answer.probabilities.values()):.4f}"]
        if answer.label_set is not None:
            columns.append(join_labels(answer.label_set))
        return "\t".join([*columns, text if isinstance(text, str) else " / ".join(text)])

    @classmethod
    def write(cls, path: str | Path, task: TextClassifier, texts: Sequence[Any], answers: Sequence[Prediction]) -> None:
        write_answers(path, texts, answers, task.labels)


def train(options: ClassificationOptions) -> Report:
    """Fine-tune, evaluate, save and export; everything is left in the run's folder.

    Args:
        options: The run, which starts from a preset; `continue_training.train` goes on with a finished one.

    Returns:
        The report on the test split, which is also printed.
    """
    if options.init_from is not None:
        raise TransformerError(
            f"init_from is for runs.continue_training.train, which goes on with a run; got {options.init_from!r}"
        )
    return ClassificationRun(options, load_splits(options)).train()


def load_splits(options: ClassificationOptions) -> Splits:
    """The splits that the options name."""
    return ClassificationRun.read(options)


def classifier_settings(options: ClassificationOptions, data: Split) -> dict[str, Any]:
    """Arguments of `TextClassifier.from_preset` that follow from labelled rows."""
    return {
        "labels": data.labels,
        "multi_label": data.multi_label,
        "text_pairs": data.is_pair,
        "pooling": options.pooling,
    }


def build_classifier(
    options: ClassificationOptions, data: Split, kind: type[TextClassifier] = TextClassifier, **more: Any
) -> TextClassifier:
    """The classifier of the options for the labels of the data, untrained; `more` are arguments of its `kind`."""
    return build_task(kind, options, {**classifier_settings(options, data), **more})
