"""Detection of a collapsed classifier in `fit`, and the restart of a collapsed run."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.finetuning.guards import CollapseMonitor
from tftransformer.finetuning.optimizers import inner_optimizer, set_optimizer, with_rate
from tftransformer.finetuning.schedule_length import warmup_updates

if TYPE_CHECKING:
    from tftransformer.models.task import Task

_PROBED_ROWS = 32


def collapse_monitors(
    task: "Task",
    data: Any,
    batches: int | None,
    class_weights: tf.Tensor | None = None,
    stop: bool = False,
) -> list[keras.callbacks.Callback]:
    """Return the callback that detects a collapse; none without a loss of guessing on targets known beforehand.

    Args:
        task: A compiled task, whose schedule knows its length.
        data: Training data; labels of a `tf.data.Dataset` are not known beforehand.
        batches: Batches of the run; None if unknown.
        class_weights: Weights of the classes, of `Objective.class_weights`.
        stop: Whether it is to stop a training that has collapsed.
    """
    if not isinstance(data, Examples) or data.targets is None or task.loss_step is not None or task.losses:
        return []
    chance = task.objective.chance_loss(task.loss, data.targets, row_weights(data, class_weights))
    if chance is None:
        return []
    some = data.take(range(0, len(data), -(-len(data) // _PROBED_ROWS)))

    def probe() -> tuple[np.ndarray, float]:
        batches, inverse = task.ordered_batches(replace(some, targets=None), len(some))
        logits = keras.ops.cast(task(next(iter(batches)), training=False), "float32")
        probabilities = keras.ops.convert_to_numpy(task.objective.activate(logits))[inverse]
        losses, given = task.objective.row_losses(some.targets, probabilities), row_weights(some, class_weights)
        return probabilities, float((losses if given is None else losses * given).mean())

    accumulated = getattr(task.optimizer, "gradient_accumulation_steps", None) or 1
    return [CollapseMonitor(chance, probe, warmup_updates(task.optimizer), batches, accumulated, stop=stop)]


def row_weights(examples: Examples, class_weights: tf.Tensor | None) -> np.ndarray | None:
    """(B,) factors on the rows' losses, of their own weights and those of their classes; None for 1."""
    if class_weights is None:
        return examples.weights
    of_classes = np.asarray(class_weights)[examples.targets.values]
    return of_classes if examples.weights is None else of_classes * examples.weights


# How often a collapsed run begins again, and by what its rate is divided then.
RESTARTS, RETRY_RATE_DIVISOR = 2, 3.0


def restart(task: "Task", weights: Sequence[tuple[Any, np.ndarray]]) -> None:
    """Give a task its weights back, and an optimizer that has not trained and has a third of the rate."""
    for weight, value in weights:
        weight.assign(value)
    schedule = inner_optimizer(task.optimizer)._learning_rate
    with task.distribute_strategy.scope():
        set_optimizer(task, with_rate(task.optimizer, replace(schedule, peak=schedule.peak / RETRY_RATE_DIVISOR)))
    task.stop_training = False
    task.make_train_function(force=True)
