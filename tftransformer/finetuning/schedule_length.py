"""The length of a run, which `fit` tells the optimizer, and the callbacks that conflict with a schedule."""

import math
from collections.abc import Iterable
from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.finetuning.reduced_gradients import ReducedGradients
from tftransformer.finetuning.schedules import Schedule


def bind_schedule(optimizer: Any, steps_per_epoch: int | None, epochs: int, initial_epoch: int = 0) -> None:
    """Tell the optimizer and its schedule how long the run is that now starts.

    Every `fit` starts its schedule anew, warmup included, whatever was trained before: after a decay to zero
    a second `fit` would otherwise train nothing. A run continued with `initial_epoch` goes on where
    that epoch stands in the schedule of all `epochs`. Nothing that an earlier run accumulated enters this one.

    Args:
        optimizer: Compiled optimizer. Nothing is done unless it is one of this package.
        steps_per_epoch: Number of batches in an epoch (not updates: accumulation is taken into account here).
        epochs: Number of the last epoch, as in `fit`.
        initial_epoch: Number of the first epoch, counted from 0, as in `fit`.

    Raises:
        TransformerError: The number of batches is not known, and there is a `Schedule`.

    Example:
        >>> bind_schedule(keras.optimizers.SGD(0.1), 10, epochs=2)
    """
    optimizer = inner_optimizer(optimizer)
    if not isinstance(optimizer, ReducedGradients):
        return
    optimizer.start_run(steps_per_epoch, epochs - initial_epoch, continued=initial_epoch > 0)
    if not isinstance(optimizer._learning_rate, Schedule):
        return
    if steps_per_epoch is None:
        raise TransformerError(
            "steps_per_epoch must be given: the data do not say how many batches they have, and the schedule "
            'has to know; or pass schedule="constant" to compile'
        )
    accumulated = optimizer.gradient_accumulation_steps or 1
    if optimizer.carry_accumulation:
        total = math.ceil(steps_per_epoch * epochs / accumulated)
        done = steps_per_epoch * initial_epoch // accumulated
    else:
        updates = math.ceil(steps_per_epoch / accumulated)
        total, done = updates * epochs, updates * initial_epoch
    current = int(keras.ops.convert_to_numpy(optimizer.iterations))
    optimizer.bind_schedule(max(1, total), start=current - done)


class BindSchedule(keras.callbacks.Callback):
    """A callback that calls `bind_schedule` when `fit` starts, for models that are no task.

    Args:
        initial_epoch: `initial_epoch` of `fit`, which Keras does not tell callbacks.
    """

    def __init__(self, initial_epoch: int = 0):
        super().__init__()
        self.initial_epoch = initial_epoch

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        steps, epochs = self.params.get("steps"), self.params.get("epochs", 1)
        bind_schedule(self.model.optimizer, steps, epochs, self.initial_epoch)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        start_epoch(self.model.optimizer)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        show_average(self.model.optimizer)


def warmup_updates(optimizer: Any) -> int:
    """Updates until the rate of one of our schedules, of known length, is at its highest; 0 for anything else."""
    optimizer = inner_optimizer(optimizer)
    schedule = getattr(optimizer, "_learning_rate", None)
    if not isinstance(optimizer, ReducedGradients) or not isinstance(schedule, Schedule):
        return 0
    total = int(keras.ops.convert_to_numpy(optimizer._schedule_steps))
    return schedule.warmup if isinstance(schedule.warmup, int) else int(total * schedule.warmup)


def start_epoch(optimizer: Any) -> None:
    """Tell one of our optimizers that an epoch begins; any other has nothing to be told."""
    if isinstance(optimizer := inner_optimizer(optimizer), ReducedGradients):
        optimizer.start_epoch()


def show_average(optimizer: Any) -> None:
    """Have one of our optimizers that averages weights give the model the average, until the next epoch begins."""
    if isinstance(optimizer := inner_optimizer(optimizer), ReducedGradients):
        optimizer.show_average()


def check_callbacks(callbacks: Iterable[Any] | Any, optimizer: Any) -> None:
    """Refuse callbacks that set the learning rate while a schedule computes it.

    Args:
        callbacks: Callbacks of `fit`: None, one, several, or a `CallbackList`.
        optimizer: The compiled optimizer.

    Raises:
        TransformerError: LearningRateScheduler or ReduceLROnPlateau together with a schedule.

    Example:
        >>> check_callbacks([keras.callbacks.ReduceLROnPlateau()], keras.optimizers.SGD(0.1))
    """
    rate = getattr(inner_optimizer(optimizer), "_learning_rate", None)
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return
    callbacks = getattr(callbacks, "callbacks", callbacks) or ()
    setters = (keras.callbacks.LearningRateScheduler, keras.callbacks.ReduceLROnPlateau)
    for callback in callbacks if isinstance(callbacks, (list, tuple)) else (callbacks,):
        if isinstance(callback, setters):
            raise TransformerError(
                f"{type(callback).__name__} sets the learning rate, which the {type(rate).__name__} "
                'computes: compile with schedule="constant" to use it'
            )
