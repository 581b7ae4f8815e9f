"""Several classification tasks on one encoder, trained together.

Caruana 1997, "Multitask learning"; for BERT-like encoders Liu et al. 2019, "MT-DNN" (arXiv:1901.11504). Each batch
holds rows of one task; how tasks are drawn, and what an epoch is, says `data.task_sampling`.
"""

import functools
import os
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from tftransformer.checkpoints.preset import Preset
from tftransformer.checkpoints.presets import load_preset
from tftransformer.config import TransformerConfig
from tftransformer.data.examples import Examples, num_batches
from tftransformer.data.pipeline import Epoch
from tftransformer.data.split import Split, require_labelled
from tftransformer.data.task_sampling import DEFAULT_SAMPLING, batch_fractions, task_batches
from tftransformer.data.texts import as_texts
from tftransformer.errors import TransformerError
from tftransformer.evaluation.reports import Report
from tftransformer.export.serving import Serving
from tftransformer.layers.heads import TaskHeads
from tftransformer.objectives.several import (
    ClassificationTask,
    SeveralClassifications,
    as_tasks,
    by_task,
    describe_tasks,
)
from tftransformer.preprocessing.datasets import is_tokenized, reject_arguments
from tftransformer.preprocessing.several import INPUTS, SeveralTextsPreprocessor
from tftransformer.tasks.saved import task_on_preset
from tftransformer.tasks.task import Task
from tftransformer.text.base import Tokenizer
from tftransformer.training.compilation import compile_arguments, remembered


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiTaskClassifier(Task):
    """One encoder and a head for each of several tasks, over raw texts or pairs; usually made by `from_preset`.

    Tasks may be single-label or multi-label, of texts or of pairs. Data come as a mapping from task to what
    `TextClassifier` takes; logged values begin with the task's name, as `sst2_accuracy`. Its parts can be used
    alone: `encoder`, `extra_blocks`, `pooler`, `head` (a `TaskHeads`), `tokenizer`, `tasks`. One optimizer updates
    all heads in each step: in batches of other tasks a head's gradient is zero, and Adam's moments fade.

    Args:
        config: Sizes and choices of the encoder.
        tokenizer: Text to ids; its vocabulary fits `config.vocabulary_size`.
        tasks: By name: labels, a `Split` (which says labels, several labels a text, and pairs), or a
            `ClassificationTask`; the names are those of signatures and parts of those of weights.
        options: `pooling`, `pooler`, `extra_blocks`, `head_dropout`, `sequence_length`, `seed` and `dtype`, as for
            `TextClassifier`.

    Raises:
        TransformerError: Names of tasks that clash or are no plain names, and as `TextClassifier`.

    Example:
        >>> tasks = {"sentiment": ["no", "yes"], "topic": ["world", "sports", "business"]}
        >>> model = MultiTaskClassifier.from_preset("bert_12x192_en_uncased", tasks=tasks)
        >>> model.predict(["a late goal"], task="topic", verbose=0).shape
        (1, 3)
    """

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        tasks: Mapping[str, Any],
        *,
        name: str = "multi_task_classifier",
        **options: Any,
    ) -> None:
        tasks = as_tasks(tasks)
        objective = SeveralClassifications(tasks)
        preprocessor = functools.partial(SeveralTextsPreprocessor, objective=objective)
        super().__init__(config, tokenizer, objective=objective, preprocessor=preprocessor, name=name, **options)
        # Of the `fit` under way: how it draws tasks, and which it validates.
        self._sampling: Any = DEFAULT_SAMPLING
        self._validated: tuple[str, ...] = tuple(tasks)
        # The task of each logged value, from `compile`.
        self._task_of: dict[str, str] = {}
        counts = {name: len(task.labels) for name, task in tasks.items()}
        self.add_head(TaskHeads(counts, self.network.head_dropout, dtype=self.dtype_policy, name="head"))

    @classmethod
    def from_preset(
        cls,
        preset: str | os.PathLike | Preset,
        tasks: Mapping[str, Any] | None = None,
        *,
        load_weights: bool = True,
        **options: Any,
    ) -> "MultiTaskClassifier":
        """A multi-task classifier on the encoder of a preset, with the heads of those tasks that it was saved with.

        Args:
            preset: As for `TextClassifier.from_preset`.
            tasks: As for the constructor. None: those of the preset, if it was saved with some.
            load_weights: False builds the same network from random numbers.
            options: Other arguments of the constructor, which take the place of the preset's, and `dropout`, the
                rate inside the encoder.

        Raises:
            TransformerError: The preset is unknown, broken or of another family, or has no tasks.
        """
        found = preset if isinstance(preset, Preset) else load_preset(preset)
        saved = found.task.get("tasks")
        if tasks is None and not saved:
            raise TransformerError(f"tasks must be given: the preset {found.name!r} was not saved with several tasks")
        given = as_tasks(saved if tasks is None else tasks)
        fresh = _heads_not_in(saved, given)
        options["tasks"] = given
        return task_on_preset(cls, found, options, kept=cls.kept_settings, fresh=fresh, load_weights=load_weights)

    # Data by task.

    @property
    def tasks(self) -> dict[str, ClassificationTask]:
        """The tasks by name."""
        return self.objective.tasks

    def preprocess(self, texts: Any, targets: Any = None, sample_weight: Any = None) -> Examples:
        """Tokenised examples of labelled data by task, one task after another.

        Args:
            texts: By task: a Split, (texts, labels), (texts, labels, weights) or a finite dataset.
            targets, sample_weight: None; they come with the texts.

        Raises:
            TransformerError: An unknown task, one without rows, or what does not fit the task.
        """
        reject_arguments(y=targets, sample_weight=sample_weight)
        if isinstance(texts, Examples):
            return super().preprocess(texts)
        return self.preprocessor.joined(by_task(texts, self.tasks, "x"))

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
        reject_arguments(y=y, **{name: options.get(name) for name in unfit})
        self._sampling = sampling
        return super().fit(by_task(x, self.tasks, "x", every=True), **options)

    def training_batches(self, examples: Examples, batch_size: int, shuffle: bool, epoch: Epoch) -> tf.data.Dataset:
        counts = {name: num_batches(size, batch_size) for name, size in zip(self.tasks, examples.sizes, strict=True)}
        return task_batches(
            examples,
            batch_size,
            list(batch_fractions(self._sampling, counts).values()),
            boundaries=self.boundaries(examples),
            shuffle=shuffle,
            seed=self.seed,
            epoch=epoch,
        )

    def validation_data(self, data: Any, batch_size: int, steps: int | None = None) -> Any:
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
            part = self.objective.columns(name)
            examples = self.preprocessor.examples_of_task(name, as_texts(texts), labelled=False)
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

    def calibrate(self, data: Split, *, task: str) -> float:
        """Divide the head of a task by the temperature that its labelled rows want, as `TextClassifier.calibrate` does."""
        (name,) = self._by_task(data, task)
        own, head = self.tasks[name], self.head.heads[self.objective.columns(name).number]
        return own.calibrate_on(require_labelled(data).targets, self.predict(data, task=name, verbose=0), head)

    def conformal_threshold(self, data: Split, coverage: float = 0.9, *, task: str) -> float:
        """The threshold of a task's label sets, as `TextClassifier.conformal_threshold`; `tasks[task].answers` takes it."""
        (name,) = self._by_task(data, task)
        probabilities = self.predict(data, task=name, verbose=0)
        return self.tasks[name].conformal_threshold_on(require_labelled(data).targets, probabilities, coverage)

    def tune_threshold(self, data: Split, *, task: str) -> float:
        """Set a multi-label task's threshold to the one with the best micro-F1 on labelled data, and return it."""
        (name,) = self._by_task(data, task)
        return self.tasks[name].tune_on(require_labelled(data).targets, self.predict(data, task=name, verbose=0))

    def _by_task(self, data: Any, task: str | None) -> dict[str, Any]:
        return by_task(data if task is None else {task: data}, self.tasks, "data")

    @remembered
    def compile(
        self,
        optimizer: Any = None,
        *,
        loss_weights: Mapping[str, float] | None = None,
        label_smoothing: float = 0.0,
        **options: Any,
    ) -> None:
        """`keras.Model.compile`, with the usual loss and metrics of each task.

        Args:
            optimizer: As for `TextClassifier.compile`; one for all tasks.
            loss_weights: A factor on the losses of some tasks; 1 for the others.
            label_smoothing: Fraction of each target that is spread over all labels (at least 0, below 1).
            options: As for `TextClassifier.compile`, but for `loss` and `metrics`, which each task has of its own.

        Raises:
            TransformerError: An option is unknown or out of range, or a weight is for no task or not positive.
        """
        for name in ("loss", "metrics", "weighted_metrics"):
            if options.pop(name, None) is not None:
                raise TransformerError(f"compile of several tasks takes no {name}: each task has its own")
        loss, metrics = self.objective.of_all(loss_weights, label_smoothing)
        self._task_of = {metric.name: name for name, own in metrics.items() for metric in own}
        self._objectives = {"loss_weights": dict(loss_weights or {}), "label_smoothing": label_smoothing}
        every = [metric for own in metrics.values() for metric in own]
        keras.Model.compile(self, **compile_arguments(self, optimizer, loss, every, options))

    def get_compile_config(self) -> dict | None:
        if not self.compiled or not self._compile_config:
            return None
        # Loss and metrics follow from the tasks.
        config = self._compile_config.serialize()
        return {name: value for name, value in config.items() if name not in ("loss", "metrics")} | self._objectives

    def compile_as_saved(self, settings: dict) -> None:
        self.compile(**settings)

    def serving(self, computed: "MultiTaskClassifier | None" = None) -> Serving:
        """A signature for each task, of the task's name; all call one function for the encoder."""
        computed = self if computed is None else computed
        trunk = computed.network.served(pairs=any(task.text_pairs for task in self.tasks.values()))
        integers = dict.fromkeys(INPUTS, tf.TensorSpec([None, None], tf.int32))
        pooled = tf.function(trunk, input_signature=[integers], autograph=False)
        signatures = {
            name: task.signature(
                inputs=("text", "text_pair") if task.text_pairs else ("text",),
                sequence_length=self.sequence_length,
                prepare=self.preprocessor.graph,
                network=lambda inputs, head=head: head(pooled(inputs)),
                layers=lambda inputs, part=self.objective.columns(name): self(inputs, training=False)[
                    :, part.start : part.stop
                ],
            )
            for (name, task), head in zip(self.tasks.items(), computed.head.heads, strict=True)
        }
        return Serving(signatures, {name: task.labels for name, task in self.tasks.items()})

    def task_settings(self) -> dict:
        return {
            **super().task_settings(),
            "tasks": describe_tasks(self.tasks),
            "head_dropout": self.network.head_dropout,
        }


def _heads_not_in(saved: Any, tasks: Mapping[str, Any]) -> list[str]:
    """Patterns of the heads that a preset saved with `saved` has no weights for.

    A head is its labels: with others, even as many, its rows would answer other questions.
    """
    known = {name: (task.labels, task.multi_label) for name, task in as_tasks(saved).items()} if saved else {}
    return [f"head/{name}/.*" for name, task in tasks.items() if known.get(name) != (task.labels, task.multi_label)]
