"""Several classifications on one model: their names and data, one loss and metrics from one matrix of targets and one of logits.

A batch's targets are float32 (B, 1 + W): the number of each row's task, then its target (`data.task_sampling`).
Its logits are (B, sum of all C), the heads side by side (`layers.TaskHeads`). To Keras the model has one input, one
output and one loss, so that one traced step serves every task, on any number of replicas.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.arguments import check_number
from tftransformer.objectives.classification import Classification
from tftransformer.objectives.objective import Objective


class TaskColumns(NamedTuple):
    """Columns of a task in targets and logits.

    Attributes:
        number: Number of the task in the first column of the targets.
        start: Its first column of logits.
        stop: The column after its last one.
        multi_label: Its targets are one column for each label, not an id.
    """

    number: int
    start: int
    stop: int
    multi_label: bool = False

    def select(self, y_true: Any, y_pred: Any) -> tuple[Any, Any, Any]:
        """The task's part of a batch.

        Args:
            y_true: (B, 1 + W).
            y_pred: (B, sum of all C).

        Returns:
            (B,) whether a row is the task's; its targets, int32 (B,) or float32 (B, C), with zeros in rows of other
            tasks, whose targets would be out of range here; its logits (B, C).

        Example:
            >>> y_true = ops.convert_to_tensor([[0.0, 3.0], [1.0, 1.0]])
            >>> mine, targets, logits = TaskColumns(1, 4, 6).select(y_true, ops.zeros((2, 6)))
            >>> mine.numpy().tolist(), targets.numpy().tolist(), tuple(logits.shape)
            ([False, True], [0, 1], (2, 2))
        """
        mine = ops.equal(ops.cast(y_true[:, 0], "int32"), self.number)
        if self.multi_label:
            targets = y_true[:, 1 : 1 + self.stop - self.start]
            targets = ops.where(mine[:, None], targets, ops.zeros_like(targets))
        else:
            ids = ops.cast(y_true[:, 1], "int32")
            targets = ops.where(mine, ids, ops.zeros_like(ids))
        return mine, targets, y_pred[:, self.start : self.stop]


class MultiTaskLoss(keras.losses.Loss):
    """The loss of each row's own task, times the task's weight.

    Args:
        losses: A Keras loss a task, of which only the value for each row is used.
        columns: Where each task stands.
        weights: A factor a task.

    Shapes: (B, 1 + W), (B, sum of all C) -> (B,) before the reduction.
    """

    def __init__(self, losses: Sequence[Any], columns: Sequence[TaskColumns], weights: Sequence[float]) -> None:
        super().__init__(name="loss")
        self.parts = list(zip(losses, columns, weights, strict=True))

    def call(self, y_true: Any, y_pred: Any) -> Any:
        total = 0.0
        for loss, columns, weight in self.parts:
            mine, targets, logits = columns.select(y_true, y_pred)
            own = loss.call(targets, logits) * weight
            total += ops.where(mine, own, ops.zeros_like(own))
        return total


class TaskMetric(keras.metrics.Metric):
    """A Keras metric on the rows of one task.

    Args:
        metric: The metric, on targets and logits of the task.
        columns: The task's columns.
        name: Shown by `fit`, such as `sst2_accuracy`.
        direction: "up" where more is better, else "down".
    """

    def __init__(self, metric: Any, columns: TaskColumns, name: str, direction: str = "up") -> None:
        super().__init__(name=name, dtype="float32")
        self.metric, self.columns = metric, columns
        # Keras's EarlyStopping and ModelCheckpoint read it where nobody tells them.
        self._direction = direction

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true = ops.convert_to_tensor(y_true)
        mine, targets, logits = self.columns.select(y_true, ops.convert_to_tensor(y_pred))
        weight = ops.cast(mine, "float32")
        if sample_weight is not None:
            weight = weight * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        self.metric.update_state(targets, logits, sample_weight=weight)

    def result(self) -> Any:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()


@dataclasses.dataclass
class ClassificationTask(Classification):
    """One of the tasks of a `MultiTaskClassifier`.

    Args:
        labels, multi_label, threshold: As for `Classification`.
        text_pairs: Whether it takes pairs; None until `fit` is given some or single texts.

    Raises:
        TransformerError: Fewer than two labels, or one twice.

    Example:
        >>> ClassificationTask(["no", "yes"]).predicted_labels(np.array([[0.2, 0.8]]))
        ['yes']
    """

    text_pairs: bool | None = None


class SeveralClassifications(Objective):
    """The classifications of several tasks, whose logits stand side by side.

    Args:
        tasks: `ClassificationTask`s by name.
    """

    def __init__(self, tasks: Mapping[str, ClassificationTask]) -> None:
        self.tasks = dict(tasks)

    def columns(self, task: str) -> TaskColumns:
        """Return where a task stands in targets and logits."""
        names = list(self.tasks)
        number = names.index(task)
        start = sum(len(self.tasks[name].labels) for name in names[:number])
        own = self.tasks[task]
        return TaskColumns(number, start, start + len(own.labels), own.multi_label)

    @property
    def classes(self) -> tuple:
        return tuple((name, *task.classes) for name, task in self.tasks.items())

    @property
    def target_width(self) -> int:
        """W: columns of the widest task's targets."""
        return max(len(task.labels) if task.multi_label else 1 for task in self.tasks.values())

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (sum(len(task.labels) for task in self.tasks.values()),)

    def traced(self) -> tuple:
        return tuple(task.threshold for task in self.tasks.values())

    def activate(self, output: Any) -> Any:
        parts = [(self.tasks[name], self.columns(name)) for name in self.tasks]
        return ops.concatenate([task.activate(output[:, part.start : part.stop]) for task, part in parts], axis=-1)

    def of_all(
        self, loss_weights: Mapping[str, float] | None = None, label_smoothing: float = 0.0
    ) -> tuple[MultiTaskLoss, dict[str, list[TaskMetric]]]:
        """Return one loss for all tasks, and for each task the metrics that it would have alone.

        Args:
            loss_weights: Factors by task; 1 for those left out.
            label_smoothing: Fraction of each target that is spread over all labels (at least 0, below 1).

        Returns:
            The loss; and metrics by task, the first of which is the task's loss without its weight.

        Raises:
            TransformerError: A weight is for no task or not positive, or the smoothing is out of range.
        """
        weights = _checked_weights(loss_weights or {}, self.tasks)
        smoothing = check_number(
            "label_smoothing", label_smoothing, "at least 0 and below 1", lambda value: 0 <= value < 1
        )
        losses = {name: task.loss(smoothing) for name, task in self.tasks.items()}
        columns = {name: self.columns(name) for name in self.tasks}
        metrics = {}
        for name, task in self.tasks.items():
            mean = keras.metrics.MeanMetricWrapper(losses[name].call, dtype="float32")
            metrics[name] = [
                TaskMetric(mean, columns[name], f"{name}_loss", direction="down"),
                *(TaskMetric(m, columns[name], f"{name}_{m.name}") for m in task.follow(task.metrics())),
            ]
        loss = MultiTaskLoss(list(losses.values()), list(columns.values()), [weights[name] for name in self.tasks])
        return loss, metrics


def _checked_weights(weights: Mapping[str, float], tasks: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(weights, Mapping):
        raise TransformerError(f"loss_weights must be numbers by task; got {weights!r:.80}")
    for name, weight in weights.items():
        if name not in tasks:
            raise TransformerError(
                f"loss_weights: there is no task {name!r}, the tasks are {', '.join(tasks)}"
                f"{near_miss(str(name), tasks)}"
            )
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            raise TransformerError(f"loss_weights must be positive; {name!r} has {weight!r}")
    return {name: float(weights.get(name, 1.0)) for name in tasks}


# Names of tasks are parts of the names of weights, of logged values and of the signatures of a SavedModel.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_task_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names that tell tasks apart.

    Raises:
        TransformerError: There are none, one is no plain name, or two are the same.

    Example:
        >>> check_task_names(["sst2", "mrpc"])
        ('sst2', 'mrpc')
    """
    names = tuple(names)
    if not names:
        raise TransformerError("tasks must have at least one task; got none")
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise TransformerError(
                f"tasks must have names of letters, digits and _ that begin with a letter; got {name!r}"
            )
        folded = name.lower()
        if folded == "val" or folded.startswith("val_"):
            raise TransformerError(
                f"tasks must not be called val or val_…, as Keras calls what it validates; got {name!r}"
            )
        if folded in seen:
            raise TransformerError(
                f"tasks must have different names, also without regard to case; got {seen[folded]!r} and {name!r}"
            )
        seen[folded] = name
    return names


def as_tasks(tasks: Any) -> dict[str, ClassificationTask]:
    """Tasks in any form that a `MultiTaskClassifier` takes.

    Args:
        tasks: By name: labels, a Split with targets, a `ClassificationTask`, or what `describe_tasks` wrote.

    Returns:
        Tasks of their own: nothing that the caller holds is changed later.

    Raises:
        TransformerError: No tasks, names that clash, or labels that are none.

    Example:
        >>> as_tasks({"sentiment": ["no", "yes"]})["sentiment"].labels
        ('no', 'yes')
    """
    if not isinstance(tasks, Mapping):
        raise TransformerError(f"tasks must be labels or a Split by name; got {tasks!r:.80}")
    check_task_names(tasks)
    return {name: _as_task(name, given) for name, given in tasks.items()}


def _as_task(name: str, given: Any) -> ClassificationTask:
    if isinstance(given, ClassificationTask):
        return dataclasses.replace(given)
    if isinstance(given, Split):
        options = {"labels": given.labels, "multi_label": given.multi_label, "text_pairs": given.is_pair}
    else:
        options = given if isinstance(given, Mapping) else {"labels": given}
    try:
        return ClassificationTask(**options)
    except TypeError:
        raise TransformerError(f"task {name!r} must have labels, or be a Split; got {given!r:.80}") from None
    except TransformerError as error:
        raise TransformerError(f"task {name!r}: {error}") from None


def describe_tasks(tasks: Mapping[str, ClassificationTask]) -> dict[str, dict[str, Any]]:
    """Tasks as JSON values, which `as_tasks` reads."""
    return {name: {**dataclasses.asdict(task), "labels": list(task.labels)} for name, task in tasks.items()}


def by_task(data: Any, tasks: Iterable[str], argument: str, every: bool = False) -> dict[str, Any]:
    """Data by task, checked, in the order of the tasks.

    Args:
        data: The data that a user passed.
        tasks: Names of the tasks.
        argument: The caller's name of the data, for messages.
        every: Whether no task may be missing.

    Raises:
        TransformerError: No mapping, an unknown task, or one without data.

    Example:
        >>> by_task({"mrpc": ["a"], "sst2": ["b"]}, ["sst2", "mrpc"], "x")
        {'sst2': ['b'], 'mrpc': ['a']}
    """
    tasks = tuple(tasks)
    if not isinstance(data, Mapping) or not data:
        raise TransformerError(
            f"{argument} must have data by task, such as {{{tasks[0]!r}: split}}; got {type(data).__name__}"
            f"{' without any' if isinstance(data, Mapping) else ''}"
        )
    for name in data:
        if name not in tasks:
            raise TransformerError(
                f"{argument}: there is no task {name!r}, the tasks are {', '.join(tasks)}{near_miss(str(name), tasks)}"
            )
    for name in tasks if every else data:
        if data.get(name) is None:
            raise TransformerError(f"{argument} must have rows for every task; {name!r} has none")
    return {name: data[name] for name in tasks if name in data}
