"""Cost of a report, kept small in a run within some minutes: fewer test rows, and fewer rows to count words in."""

import time
from collections.abc import Mapping
from typing import Any

from tftransformer.data.examples import Examples
from tftransformer.data.split import Splits
from tftransformer.data.splitting import subset_rows
from tftransformer.evaluation.baselines import tfidf_baseline
from tftransformer.progress import say
from tftransformer.runs.options import ClassificationOptions
from tftransformer.runs.run_folder import RunFolder
from tftransformer.runs.time_limit import measure_speed
from tftransformer.runs.train import tested_split
from tftransformer.tasks.text_classifier import TextClassifier

# Fractions of the minutes for predicting the test rows, for predicting the validation rows once (a run does it twice, to
# calibrate and to find thresholds), and for the baseline.
_TESTING, _VALIDATING, _COUNTING = 0.1, 0.025, 0.05
# Rows of each split that a report has in any case; and training rows that show what the baseline costs.
_LEAST_ROWS, _COUNTED_FIRST = 200, 2000


COUNTING = "training the word-counting baseline, TF-IDF and logistic regression …"


class ReportBudget:
    """Measure, choose the test rows and count words before a run within some minutes trains.

    Args:
        classifier: Built classifier.
        splits, examples: The data.
        options: The run, with `minutes`.
        begun: Start of the minutes, in seconds of `time.monotonic`.

    Attributes:
        end: End of the minutes, in seconds of `time.monotonic`.
        splits, examples: The data, with as many validation and test rows as there is time for.
        speed: Time that running the network takes.
        baseline: Word counting on these test rows.
    """

    def __init__(
        self,
        classifier: TextClassifier,
        splits: Splits,
        examples: Mapping[str, Examples],
        options: ClassificationOptions,
        begun: float,
    ) -> None:
        seconds = 60 * options.minutes
        self.end = begun + seconds
        self.speed = measure_speed(classifier, examples["validation"])
        self.splits, self.examples, self._all = splits, dict(examples), {}
        for name, fraction in (("validation", _VALIDATING), ("test", _TESTING)):
            whole = name == tested_split(splits) and options.test_all
            count = max(_LEAST_ROWS, int(fraction * seconds / self.speed.text))
            if name in examples and not whole and count < len(examples[name]):
                self._take(name, count, options.seed)
        self.baseline, self._counted = self._count(classifier, options, _COUNTING * seconds)

    def _take(self, name: str, count: int, seed: int) -> None:
        split = getattr(self.splits, name)
        rows = subset_rows(split, count, seed)
        self._all[name] = len(split)
        self.splits = self.splits._replace(**{name: split.take(rows)})
        self.examples[name] = self.examples[name].take(rows)

    def _count(self, classifier: TextClassifier, options: ClassificationOptions, seconds: float) -> tuple[dict, int]:
        """Word counting on as many training rows as it takes so many seconds for, and how many these are."""
        say(COUNTING)
        rows, started = len(self.splits.train), time.monotonic()
        first = min(_COUNTED_FIRST, rows)
        baseline = count_words(classifier, self.splits, self.examples, options, first)
        taken = max(time.monotonic() - started, 1e-3)
        more = min(rows, int(first * seconds / taken))
        if more <= first:
            return baseline, first
        return count_words(classifier, self.splits, self.examples, options, more), more

    def notes(self, run: RunFolder) -> str:
        """Return the report's lines on what was left out for lack of time."""
        lines, rows, tested = [], len(self.splits.train), tested_split(self.splits)
        for name, count in self._all.items():
            line = f"{len(self.examples[name]):,} of {count:,} {name} rows were looked at, chosen by the seed"
            evaluate = f"; --test_all, or --mode=evaluate --model={run.path} afterwards, takes all of them"
            lines.append(f"{line}{evaluate if name == tested else ''}.")
        if self._counted < rows:
            lines.append(f"Words were counted in {self._counted:,} of {rows:,} training rows.")
        return "\n".join(lines)


def count_words(
    classifier: TextClassifier,
    splits: Splits,
    examples: Mapping[str, Examples],
    options: ClassificationOptions,
    most: int | None = None,
) -> dict[str, Any]:
    """The baseline's figures on the rows that a run reports on, from so many training rows; None for all."""
    name = tested_split(splits)
    train, targets, test = splits.train, examples["train"].targets.values, getattr(splits, name)
    if most is not None and most < len(train):
        rows = subset_rows(train, most, options.seed)
        train, targets = train.take(rows), targets[rows]
    return tfidf_baseline(
        train.texts, targets, test.texts, examples[name].targets.values, classifier.labels, options.seed
    )
