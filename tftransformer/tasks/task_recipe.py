"""What `compile()` means for several tasks: each with the loss and the metrics that it would have alone."""

import math
from collections.abc import Mapping
from typing import Any

import keras

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.schedules import check_number
from tftransformer.tasks import compilation
from tftransformer.tasks.task_objectives import MeanLoss, MultiTaskLoss, TaskMetric


def multi_task_defaults(
    model: Any, optimizer: Any, loss_weights: Mapping[str, float] | None, options: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The arguments of Keras's `compile` for several tasks.

    Args:
        model: Has `tasks` and `columns`.
        optimizer, loss_weights: As given, or None.
        options: Everything else that was given by name.

    Returns:
        Arguments for `keras.Model.compile`; and the task of each logged value.

    Raises:
        TransformerError: An option is unknown or out of range, or a weight is for no task or not positive.
    """
    for name in ("loss", "metrics", "weighted_metrics"):
        if options.get(name) is not None:
            raise TransformerError(f"compile of several tasks takes no {name}: each task has its own")
    weights = _checked_weights(loss_weights or {}, model.tasks)
    smoothing = options.pop("label_smoothing", 0.0)
    smoothing = check_number(
        "label_smoothing", smoothing, "at least 0 and below 1", lambda value: 0 <= value < 1
    )
    arguments = compilation.classification_defaults(model, optimizer, "each task's own", [], dict(options))
    losses = {name: compilation.default_loss(task, smoothing) for name, task in model.tasks.items()}
    metrics, logged = [], {}
    for name, task in model.tasks.items():
        for metric in (MeanLoss(losses[name]), *compilation.default_metrics(task)):
            metrics.append(TaskMetric(metric, model.columns(name), name=f"{name}_{metric.name}"))
            logged[metrics[-1].name] = name
    columns = [model.columns(name) for name in model.tasks]
    loss: keras.losses.Loss = MultiTaskLoss(list(losses.values()), columns, [weights[n] for n in model.tasks])
    return {**arguments, "loss": loss, "metrics": metrics}, logged


def _checked_weights(weights: Mapping[str, float], tasks: Mapping[str, Any]) -> dict[str, float]:
    if not isinstance(weights, Mapping):
        raise TransformerError(f"loss_weights must be numbers by task; got {weights!r:.80}")
    for name, weight in weights.items():
        if name not in tasks:
            raise TransformerError(
                f"loss_weights: there is no task {name!r}, the tasks are {', '.join(tasks)}{near_miss(name, tasks)}"
            )
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or weight <= 0:
            raise TransformerError(f"loss_weights must be positive; {name!r} has {weight!r}")
    return {name: float(weights.get(name, 1.0)) for name in tasks}
