"""A learning rate from one short sweep: the rate rises with every batch, and the loss says where it goes too far.

After Smith 2015, "Cyclical learning rates for training neural networks" (arXiv:1506.01186).
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from tftransformer.data.pipeline import num_batches
from tftransformer.errors import TransformerError
from tftransformer.experiments.lr_sweep import LearningRateSweep
from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.finetuning.schedules import check_number
from tftransformer.tasks.base import TextTask

_LEAST_STEPS = 10
# What `fit` changes in a model beside its weights.
_STATE = (
    "optimizer",
    "train_function",
    "test_function",
    "predict_function",
    "steps_per_execution",
    "jit_compile",
    "text_pairs",
)


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    lowest: float = 1e-6,
    highest: float = 1.0,
    steps: int = 100,
    batch_size: int = 32,
    smoothing: float = 0.9,
    divergence: float = 4.0,
    **options: Any,
) -> LearningRateSweep:
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
        if not isinstance(model, TextTask):
            raise TransformerError("model must be compiled before a sweep; got one that is not")
        model.compile()
    elif isinstance(model, TextTask):
        model.check_compilation()
    watch = _Watch(steps, smoothing, divergence)
    with _put_back(model):
        with model.distribute_strategy.scope():
            _set(model, "optimizer", _at_rate(model.optimizer, ExponentialRise(lowest, highest, steps)))
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

    Args:
        lowest: The rate of step 0.
        highest: The rate of step N - 1.
        steps: N.

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
    state = {name: getattr(model, name) for name in _STATE if hasattr(model, name)}
    try:
        yield
    finally:
        for variable, value in values:
            variable.assign(value)
        for name, value in state.items():
            _set(model, name, value)


def _set(model: keras.Model, name: str, value: Any) -> None:
    # As in `compile`: nothing that TensorFlow would save with the model.
    object.__setattr__(model, name, value)


def _at_rate(optimizer: Any, rate: ExponentialRise) -> Any:
    """An optimizer with the same settings, no state, and another rate."""
    inner = inner_optimizer(optimizer)
    if "learning_rate" not in inner.get_config():
        raise TransformerError(
            f"model must be compiled with an optimizer that has one learning_rate; got {type(inner).__name__}"
        )
    config = {**inner.get_config(), "learning_rate": rate}
    # One update a batch, or the rate would not move with every loss.
    config["gradient_accumulation_steps"] = None
    if config.get("rate_multipliers"):
        # Those above one only hold fresh weights at a rate of their own.
        config["rate_multipliers"] = {
            pattern: min(1.0, factor) for pattern, factor in config["rate_multipliers"].items()
        }
    copy = type(inner).from_config(config)
    return copy if inner is optimizer else keras.optimizers.LossScaleOptimizer(copy)


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
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < _LEAST_STEPS:
        raise TransformerError(f"steps must be an integer of at least {_LEAST_STEPS}; got {steps!r}")
