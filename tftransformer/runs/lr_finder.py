"""A learning rate from one short sweep: the rate rises with every batch, and the loss says where it goes too far.

After Smith 2015, "Cyclical learning rates for training neural networks" (arXiv:1506.01186).
"""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from tftransformer.data.pipeline import num_batches
from tftransformer.errors import TransformerError, check_whole
from tftransformer.evaluation.figures import COLOURS, GREY, save, single_axes
from tftransformer.finetuning.optimizers import inner_optimizer, set_optimizer, with_rate
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.finetuning.schedules import check_number
from tftransformer.tasks.task import Task

_LEAST_STEPS = 10
# What `fit` changes in a model beside its weights.
_STATE = ("train_function", "test_function", "predict_function", "steps_per_execution", "jit_compile")


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    batch_size: int = BATCH_SIZE,
    smoothing: float = 0.9,
    divergence: float = 4.0,
    **options: Any,
) -> "LearningRateSweep":
    """Train for a few batches at rates that rise exponentially, and put everything back.

    The sweep starts from the model's weights and ends after `steps` batches or where the loss diverges. Then the
    model, its optimizer and its schedule are as they were: training after a sweep is training without one. All
    weights share the rate of the sweep; weights that start from random numbers are not given a higher one.

    Args:
        model: A task or any built and compiled Keras model. A task that is not compiled gets its defaults.
        x, y: Training data, in any form that the model's `fit` takes.
        lowest: The first rate.
        highest: The last rate.
        steps: The number of batches; at least 10. Over fewer the loss is too noisy to say anything.
        batch_size: Rows a batch. The best rate depends on it: take the one that will be trained with.
        smoothing: Weight of the past in the smoothed loss, from 0 (none) to below 1.
        divergence: The sweep stops where the smoothed loss is so many times its minimum.
        options: For `fit`, such as `class_weight`.

    Returns:
        The sweep, with `suggestion`; `print` it, `plot` it.

    Raises:
        TransformerError: An argument out of its range, a model that is not ready, or a loss that never fell.

    Example:
        >>> sweep = find_learning_rate(classifier, train, batch_size=16)  # doctest: +SKIP
        >>> sweep.plot("rates.png")  # doctest: +SKIP
        >>> classifier.compile(learning_rate=sweep.suggestion)  # doctest: +SKIP
    """
    _check(lowest, highest, steps, smoothing, divergence)
    if not model.built:
        raise TransformerError("model must be built before a sweep: call it on a batch, or build it")
    if not model.compiled:
        if not isinstance(model, Task):
            raise TransformerError("model must be compiled before a sweep; got one that is not")
        model.compile()
    elif isinstance(model, Task):
        model.check_compilation()
    watch = _Watch(steps, smoothing, divergence)
    with _put_back(model):
        with model.distribute_strategy.scope():
            set_optimizer(model, _at_rate(model.optimizer, ExponentialRise(lowest, highest, steps)))
        model.train_function = None
        model.steps_per_execution = 1
        try:
            epochs = _epochs(x, batch_size, steps)
            model.fit(x, y, batch_size=batch_size, epochs=epochs, callbacks=[watch], verbose=0, **options)
        except TransformerError:
            # A task's `fit` reports a loss that is not finite; here that is what the sweep was looking for.
            if not watch.losses:
                raise
            watch.diverged = True
    count = len(watch.losses)
    rates = [lowest * (highest / lowest) ** (step / (steps - 1)) for step in range(count)]
    return LearningRateSweep.of(rates, watch.losses, watch.smoothed, watch.diverged)


class ExponentialRise(keras.optimizers.schedules.LearningRateSchedule):
    """The rate of step i of N: `lowest * (highest / lowest) ** (i / (N - 1))`.

    Example:
        >>> rise = ExponentialRise(1e-4, 1e-2, 3)
        >>> [f"{float(rise(step)):.0e}" for step in range(3)]
        ['1e-04', '1e-03', '1e-02']
    """

    def __init__(self, lowest: float, highest: float, steps: int) -> None:
        super().__init__()
        self.lowest, self.highest, self.steps = lowest, highest, steps

    def __call__(self, step: Any) -> Any:
        progress = keras.ops.cast(step, "float32") / (self.steps - 1)
        start, span = math.log(self.lowest), math.log(self.highest / self.lowest)
        return keras.ops.exp(start + span * progress)

    def get_config(self) -> dict[str, Any]:
        return {"lowest": self.lowest, "highest": self.highest, "steps": self.steps}


class _Watch(keras.callbacks.Callback):
    """Notes the loss of each batch, and stops the training at the last one or where it diverges."""

    def __init__(self, steps: int, smoothing: float, divergence: float) -> None:
        super().__init__()
        self.steps, self.smoothing, self.divergence = steps, smoothing, divergence
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.diverged = False
        self._average = 0.0

    def on_train_batch_begin(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        # What Keras logs is the mean since the last reset, and a batch alone is wanted.
        self.model.reset_metrics()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float(logs["loss"])
        if math.isfinite(loss):
            self.losses.append(loss)
            self._average = self.smoothing * self._average + (1.0 - self.smoothing) * loss
            # The average starts from zero, which this takes out again.
            self.smoothed.append(self._average / (1.0 - self.smoothing ** len(self.losses)))
            self.diverged = self.smoothed[-1] > self.divergence * min(self.smoothed)
        else:
            self.diverged = True
        if self.diverged or len(self.losses) >= self.steps:
            self.model.stop_training = True


@contextlib.contextmanager
def _put_back(model: keras.Model) -> Iterator[None]:
    values = [(variable, keras.ops.convert_to_numpy(variable)) for variable in model.variables]
    optimizer = model.optimizer
    state = [(model, name, getattr(model, name)) for name in _STATE if hasattr(model, name)]
    if isinstance(model, Task):
        state.append((model.preprocessor, "pairs", model.preprocessor.pairs))
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)
        for holder, name, value in state:
            setattr(holder, name, value)
        set_optimizer(model, optimizer)


def _at_rate(optimizer: Any, rate: ExponentialRise) -> Any:
    """An optimizer with the same settings, no state, and the rate of a sweep."""
    # One update a batch, or the rate would not move with every loss.
    settings: dict[str, Any] = {"gradient_accumulation_steps": None}
    if multipliers := inner_optimizer(optimizer).get_config().get("rate_multipliers"):
        # Those above one only hold fresh weights at a rate of their own.
        settings["rate_multipliers"] = {pattern: min(1.0, factor) for pattern, factor in multipliers.items()}
    return with_rate(optimizer, rate, **settings)


def _epochs(x: Any, batch_size: int, steps: int) -> int:
    """Enough to see so many batches; the sweep ends within them."""
    x = next(iter(x.values()), ()) if isinstance(x, Mapping) else x
    try:
        rows = len(x)
    except TypeError:
        return steps
    return max(1, math.ceil(steps / max(1, num_batches(rows, batch_size))))


def _check(lowest: Any, highest: Any, steps: Any, smoothing: Any, divergence: Any) -> None:
    check_number("lowest", lowest, "positive", lambda value: value > 0)
    check_number("highest", highest, f"above lowest, {lowest}", lambda value: value > lowest)
    check_number("smoothing", smoothing, "at least 0 and below 1", lambda value: 0 <= value < 1)
    check_number("divergence", divergence, "above 1", lambda value: value > 1)
    check_whole("steps", steps, least=_LEAST_STEPS)


# What a sweep over learning rates found: the losses, two rules for a rate, and the picture.


@dataclass(frozen=True)
class LearningRateSweep:
    """Losses by learning rate. `str()` of it is for people.

    Attributes:
        rates: The rate of each batch.
        losses: The loss of each batch, before its update.
        smoothed: The same, as a moving average.
        steepest: The rate around which the smoothed loss falls fastest.
        tenth_of_minimum: A tenth of the rate at which the smoothed loss is least.
        diverged: Whether the sweep ended because the loss went up too far or was not finite.

    Example:
        >>> rates = [10.0**power for power in range(-6, 0)]
        >>> loss = [1.0, 0.99, 0.6, 0.45, 0.4, 3.0]
        >>> sweep = LearningRateSweep.of(rates, loss, loss, diverged=True)
        >>> f"{sweep.steepest:.0e} {sweep.tenth_of_minimum:.0e} {sweep.suggestion:.0e}"
        '1e-04 1e-03 1e-04'
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    steepest: float
    tenth_of_minimum: float
    diverged: bool

    @classmethod
    def of(
        cls, rates: Sequence[float], losses: Sequence[float], smoothed: Sequence[float], diverged: bool
    ) -> "LearningRateSweep":
        """A sweep with both rules applied."""
        values = np.asarray(smoothed, np.float64)
        if not len(values):
            raise TransformerError("lowest must be a rate that trains; the loss was not finite at once")
        least = int(values.argmin())
        if least == 0:
            raise TransformerError(
                f"lowest must be a rate at which the loss still falls; it never fell from {rates[0]:.1e} to "
                f"{rates[-1]:.1e}"
            )
        steepest = rates[_steepest(np.log(rates[: least + 1]), values[: least + 1])]
        return cls(tuple(rates), tuple(losses), tuple(smoothed), steepest, rates[least] / 10.0, diverged)

    @property
    def suggestion(self) -> float:
        """The smaller of the two rules: too small a rate costs time, too large a one the pretrained weights."""
        return min(self.steepest, self.tenth_of_minimum)

    def plot(self, path: str | os.PathLike) -> None:
        """Draw the loss against the rate, with both rules marked."""
        figure, axes = single_axes(6.4, 4.0)
        axes.semilogx(self.rates, self.losses, color=GREY, linewidth=0.8, alpha=0.6, label="each batch")
        axes.semilogx(self.rates, self.smoothed, color=COLOURS[0], linewidth=2.0, label="smoothed")
        for rate, colour, style, label in (
            (self.steepest, COLOURS[1], "--", "steepest"),
            (self.tenth_of_minimum, COLOURS[2], ":", "a tenth of the minimum's rate"),
        ):
            axes.axvline(rate, color=colour, linestyle=style, linewidth=1.6, label=f"{label}: {rate:.1e}")
        # The last losses of a sweep that diverged would flatten the rest of the curve.
        low, high = min(self.smoothed), max(self.smoothed[: int(np.argmin(self.smoothed)) + 1])
        axes.set_ylim(low - 0.3 * (high - low), high + 1.0 * (high - low))
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        figure.legend(loc="outside upper center", ncols=2, fontsize=9, frameon=False)
        save(figure, path)

    def __str__(self) -> str:
        end = "where the loss diverged" if self.diverged else "the end of the sweep"
        return (
            f"learning rates from {self.rates[0]:.1e} to {self.rates[-1]:.1e}, {end}: "
            f"steepest at {self.steepest:.1e}, a tenth of the minimum's rate is {self.tenth_of_minimum:.1e}; "
            f"try {self.suggestion:.1e}"
        )


def _steepest(rates: np.ndarray, losses: np.ndarray) -> int:
    """The middle of the window in which a straight line through (N,) losses over (N,) log rates falls fastest."""
    # One step alone is noise, even of an average; a tenth of the way down is not.
    width = min(len(rates), max(3, len(rates) // 10))
    windows = np.lib.stride_tricks.sliding_window_view
    x, y = windows(rates, width), windows(losses, width)
    x = x - x.mean(axis=1, keepdims=True)
    slopes = (x * y).sum(axis=1) / np.square(x).sum(axis=1)
    # The first averages are of few batches, and their jumps are noise, too.
    skipped = len(slopes) // 10
    return skipped + int(slopes[skipped:].argmin()) + width // 2
