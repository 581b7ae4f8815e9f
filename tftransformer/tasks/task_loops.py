"""Keras's loops over data by task: `fit`, `evaluate`, `predict` and reports of several tasks on one encoder."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples, num_batches
from tftransformer.data.pipeline import Epoch
from tftransformer.data.split import Split, require_labelled
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, TaskExamples, batch_shares, join_tasks, task_batches
from tftransformer.data.texts import Texts, as_texts
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import Report
from tftransformer.tasks.base import TextTask
from tftransformer.tasks.labelled import ClassificationTask
from tftransformer.tasks.task_objectives import TaskColumns, by_task
from tftransformer.tasks.text_batches import is_tokenized, only_without
from tftransformer.text.base import Tokenizer


class TaskLoops(TextTask):
    """A model that takes data by task and answers by task; subclasses bring the network.

    Args:
        tokenizer: Text to ids.
        sequence_length: Longest sequence in tokens.
        tasks: By name; the network's output has their logits side by side.
        seed: Of the order of the training examples and of the tasks.
        name, dtype: As for any Keras model.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int,
        tasks: Mapping[str, ClassificationTask],
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(tokenizer, sequence_length, seed=seed, **kwargs)
        self.tasks = dict(tasks)
        # Of the `fit` under way: how it draws tasks, and which it validates.
        self._sampling: Any = DEFAULT_SAMPLING
        self._validated: tuple[str, ...] = tuple(tasks)
        # The task of each logged value, from `compile`.
        self._task_of: dict[str, str] = {}

    def columns(self, task: str) -> TaskColumns:
        """Where a task stands in targets and logits."""
        names = list(self.tasks)
        number = names.index(task)
        start = sum(len(self.tasks[name].labels) for name in names[:number])
        own = self.tasks[task]
        return TaskColumns(number, start, start + len(own.labels), own.multi_label)

    def activate(self, output: Any) -> Any:
        parts = [(self.tasks[name], self.columns(name)) for name in self.tasks]
        return keras.ops.concatenate(
            [task.activate(output[:, part.start : part.stop]) for task, part in parts], axis=-1
        )

    def traced_settings(self) -> tuple:
        return tuple(task.threshold for task in self.tasks.values())

    def output_width(self) -> tuple[int, ...]:
        return (sum(len(task.labels) for task in self.tasks.values()),)

    def preprocess(self, texts: Any, targets: Any = None, sample_weight: Any = None) -> Examples:
        """Tokenised examples of labelled data by task, one task after another.

        Args:
            texts: By task: a Split, (texts, labels), (texts, labels, weights) or a finite dataset.
            targets, sample_weight: None; they come with the texts.

        Raises:
            TransformerError: An unknown task, one without rows, or what does not fit the task.
        """
        only_without(y=targets, sample_weight=sample_weight)
        if isinstance(texts, Examples):
            return super().preprocess(texts)
        parts = {}
        for name, data in by_task(texts, self.tasks, "x").items():
            # (texts, labels) and (texts, labels, weights); anything else says itself what it holds.
            records = as_texts(*data) if isinstance(data, tuple) else as_texts(data)
            if not len(records):
                raise TransformerError(f"every task must have rows; {name!r} has none")
            parts[self.columns(name).number] = self._examples_of(name, records)
        width = max(len(task.labels) if task.multi_label else 1 for task in self.tasks.values())
        return replace(join_tasks(parts, width), maker=self._maker())

    def target_classes(self) -> tuple:
        return tuple((name, *task.target_classes()) for name, task in self.tasks.items())

    def _examples_of(self, name: str, records: Texts, labelled: bool = True) -> Examples:
        task = self.tasks[name]
        pairs = records.second is not None
        if len(records) and task.text_pairs not in (None, pairs):
            kinds = ("single texts", "pairs of texts")
            raise TransformerError(f"task {name!r} is of {kinds[task.text_pairs]}; got {kinds[pairs]}")
        if labelled and records.targets is None:
            raise TransformerError(f"task {name!r} must have labels: give a Split with targets, or (texts, labels)")
        try:
            targets = task.encode_targets(records.targets) if labelled else None
        except TransformerError as error:
            raise TransformerError(f"task {name!r}: {error}") from None
        return self._tokenised(records, targets, task.target_spec)

    def _decide_pairs(self, data: TaskExamples) -> None:
        rows = np.split(data.segments, np.cumsum(data.sizes)[:-1])
        for task, segments in zip(self.tasks.values(), rows, strict=True):
            task.text_pairs = bool((segments == 2).any())

    def fit(
        self, x: Any = None, y: Any = None, *, sampling: str | Mapping[str, float] = DEFAULT_SAMPLING, **options: Any
    ) -> keras.callbacks.History:  # fmt: skip
        """`keras.Model.fit` over the data of all tasks.

        Args:
            x: Training data of every task by name, each in a form that `preprocess` takes.
            y: None; labels come with the texts.
            sampling: "proportional:0.75" (batches in proportion to that power of a task's size), "equal", or a weight
                for each task; see `data.task_sampling`.
            options: As for `TextClassifier.fit`. `validation_data` is by task, too, and may leave tasks out.

        Returns:
            Keras's History: `loss`, which is the mean over all rows with the tasks' weights, and for each task
            `TASK_loss` (without them) and its metrics; with `val_` in front of those of validation.

        Raises:
            TransformerError: Data of an unknown task or not of all, an option that has no meaning here, and as
                `TextClassifier.fit`.
        """
        unfit = ("validation_split", "augmentation", "sample_weight", "class_weight")
        only_without(y=y, **{name: options.get(name) for name in unfit})
        self._sampling = sampling
        return super().fit(by_task(x, self.tasks, "x", every=True), **options)

    def _batches(self, examples: Examples, batch_size: int, shuffle: bool, epoch: Epoch) -> tf.data.Dataset:
        counts = {name: num_batches(size, batch_size) for name, size in zip(self.tasks, examples.sizes, strict=True)}
        return task_batches(
            examples,
            batch_size,
            list(batch_shares(self._sampling, counts).values()),
            boundaries=self._boundaries(examples),
            shuffle=shuffle,
            seed=self.seed,
            epoch=epoch,
        )

    def _validation(self, data: Any, batch_size: int, steps: int | None = None) -> Any:
        if data is None or isinstance(data, Examples):
            return data if data is None else self.preprocess(data)
        data = by_task(data, self.tasks, "validation_data")
        self._validated = tuple(data)
        return self.preprocess(data)

    def evaluate(self, x: Any = None, y: Any = None, *, task: str | None = None, **options: Any) -> dict:
        """Loss and metrics of each task.

        Args:
            x: Data by task; those of `task` alone, where that is given.
            y: With `task`: labels, where `x` comes without.
            task: A task's name.
            options: As for `TextClassifier.evaluate`.

        Returns:
            A dict like the logs of `fit`, of the tasks that there are data for.
        """
        if is_tokenized(x):  # from within `fit`
            logs, names = super().evaluate(x, y, **options), self._validated
        else:
            data = self._by_task(x if y is None else (x, y), task)
            names = tuple(data)
            logs = super().evaluate(self.preprocess(data), **{**options, "return_dict": True})
        # The loss of all tasks belongs to none.
        return {key: value for key, value in logs.items() if self._task_of.get(key) in (None, *names)}

    def predict(self, x: Any, *, task: str | None = None, **options: Any) -> Any:
        """Probabilities, in the order of the texts.

        Args:
            x: Texts by task; those of `task` alone, where that is given.
            task: A task's name.
            options: `batch_size`, and as in Keras.

        Returns:
            Probabilities (B, C) by task; only the array where `task` is given.
        """
        found = {}
        for name, texts in self._by_task(x, task).items():
            part = self.columns(name)
            examples = self._examples_of(name, as_texts(texts), labelled=False)
            outputs = super().predict(examples, **options)
            found[name] = outputs[:, part.start : part.stop]
        return found if task is None else found[task]

    def report(self, data: Any, *, task: str | None = None) -> Any:
        """A `Report` of each task, or of one.

        Args:
            data: Splits with targets by task; one Split where `task` is given.
            task: A task's name.
        """
        reports: dict[str, Report] = {}
        for name, split in self._by_task(data, task).items():
            own = self.tasks[name]
            reports[name] = own.report_of(require_labelled(split).targets, self.predict(split, task=name, verbose=0))
        return reports if task is None else reports[task]

    def tune_threshold(self, data: Split, *, task: str) -> float:
        """Set a multi-label task's threshold to the one with the best micro-F1 on labelled data, and return it."""
        (name,) = self._by_task(data, task)
        return self.tasks[name].tune_on(require_labelled(data).targets, self.predict(data, task=name, verbose=0))

    def _by_task(self, data: Any, task: str | None) -> dict[str, Any]:
        return by_task(data if task is None else {task: data}, self.tasks, "data")
