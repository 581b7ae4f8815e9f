"""Losses and metrics of several tasks from one matrix of targets and one of logits.

A batch's targets are float32 (B, 1 + W): the number of each row's task, then its target (`data.task_sampling`).
Its logits are (B, sum of all C), the heads side by side (`layers.TaskHeads`). To Keras the model has one input, one
output and one loss, so that one traced step serves every task, on any number of replicas.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops


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


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiTaskLoss(keras.losses.Loss):
    """The loss of each row's own task, times the task's weight.

    Args:
        losses: A Keras loss a task, of which only the value for each row is used.
        columns: Where each task stands.
        weights: A factor a task.

    Shapes: (B, 1 + W), (B, sum of all C) -> (B,) before the reduction.
    """

    def __init__(
        self,
        losses: Sequence[Any],
        columns: Sequence[Sequence[int]],
        weights: Sequence[float],
        name: str = "loss",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.losses = [_restored(loss) for loss in losses]
        self.columns = [TaskColumns(*part) for part in columns]
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true: Any, y_pred: Any) -> Any:
        total = None
        for loss, part, weight in zip(self.losses, self.columns, self.weights, strict=True):
            mine, targets, logits = part.select(y_true, y_pred)
            own = loss.call(targets, logits) * weight
            own = ops.where(mine, own, ops.zeros_like(own))
            total = own if total is None else total + own
        return total

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "losses": [keras.saving.serialize_keras_object(loss) for loss in self.losses],
            "columns": [list(part) for part in self.columns],
            "weights": self.weights,
        }


@keras.saving.register_keras_serializable(package="tftransformer")
class TaskMetric(keras.metrics.Metric):
    """A Keras metric on the rows of one task.

    Args:
        metric: What it is, on targets and logits of the task.
        columns: Where the task stands.
        name: Shown by `fit`, such as `sst2_accuracy`.
        dtype: Keras's; the metric inside keeps its own.
    """

    def __init__(self, metric: Any, columns: Sequence[int], name: str, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype or "float32")
        self.metric = _restored(metric)
        self.columns = TaskColumns(*columns)

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

    def get_config(self) -> dict:
        metric = keras.saving.serialize_keras_object(self.metric)
        return {**super().get_config(), "metric": metric, "columns": list(self.columns)}


@keras.saving.register_keras_serializable(package="tftransformer")
class MeanLoss(keras.metrics.Mean):
    """The mean of a loss over rows, as a metric.

    Args:
        loss: A Keras loss.
        name, dtype: As for any metric.
    """

    def __init__(self, loss: Any, name: str = "loss", dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype or "float32")
        self.loss = _restored(loss)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        super().update_state(self.loss.call(y_true, y_pred), sample_weight=sample_weight)

    def get_config(self) -> dict:
        return {**super().get_config(), "loss": keras.saving.serialize_keras_object(self.loss)}


def _restored(value: Any) -> Any:
    return keras.saving.deserialize_keras_object(value) if isinstance(value, dict) else value
