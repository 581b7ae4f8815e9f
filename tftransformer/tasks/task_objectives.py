"""Loss and metrics of several tasks from one matrix of targets and one of logits.

A batch's targets are float32 (B, 1 + W): the number of each row's task, then its target (`data.task_sampling`).
Its logits are (B, sum of all C), the heads side by side (`layers.TaskHeads`). To Keras the model has one input, one
output and one loss, so that one traced step serves every task, on any number of replicas.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.arguments import check_number
from tftransformer.tasks.compilation import default_loss, default_metrics, follow_threshold


class TaskColumns(NamedTuple):
    """Where a task stands in targets and logits.

    Attributes:
        number: What the first column of the targets says.
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

    def __init__(
        self, losses: Sequence[Any], columns: Sequence[TaskColumns], weights: Sequence[float]
    ) -> None:
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
        metric: What it is, on targets and logits of the task.
        columns: Where the task stands.
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


def task_objectives(
    tasks: Mapping[str, Any],
    columns: Mapping[str, TaskColumns],
    loss_weights: Mapping[str, float] | None = None,
    label_smoothing: float = 0.0,
) -> tuple[MultiTaskLoss, dict[str, list[TaskMetric]]]:
    """For each task the loss and the metrics that it would have alone.

    Args:
        tasks: `ClassificationTask`s by name.
        columns: Where they stand.
        loss_weights: Factors by task; 1 for those left out.
        label_smoothing: Share of each target that is spread over all labels.

    Returns:
        One loss for all; and metrics by task, the first of which is the task's loss without its weight.

    Raises:
        TransformerError: A weight is for no task or not positive, or the smoothing is out of range.
    """
    weights = _checked_weights(loss_weights or {}, tasks)
    smoothing = check_number(
        "label_smoothing", label_smoothing, "at least 0 and below 1", lambda value: 0 <= value < 1
    )
    losses = {name: default_loss(task, smoothing) for name, task in tasks.items()}
    metrics = {}
    for name, task in tasks.items():
        mean = keras.metrics.MeanMetricWrapper(losses[name].call, dtype="float32")
        metrics[name] = [
            TaskMetric(mean, columns[name], f"{name}_loss", direction="down"),
            *(
                TaskMetric(m, columns[name], f"{name}_{m.name}")
                for m in follow_threshold(default_metrics(task), task)
            ),
        ]
    loss = MultiTaskLoss(
        list(losses.values()), [columns[name] for name in tasks], [weights[name] for name in tasks]
    )
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
