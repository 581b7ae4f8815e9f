"""Learning rate schedules: a linear warmup, then linear, cosine, polynomial or exponential decay, or none.

BERT's schedule (Devlin et al. 2018, arXiv:1810.04805) is the linear one, the slanted triangle (Howard & Ruder 2018,
arXiv:1801.06146) nearly so; the cosine is Loshchilov & Hutter 2016 (arXiv:1608.03983). The inverse square root is the
schedule of Vaswani et al. 2017 (arXiv:1706.03762).
"""

import dataclasses
import math
from numbers import Integral
from typing import Any, ClassVar

import keras
from keras import ops

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.arguments import SCHEDULE_NAMES, check_number, check_schedule, check_warmup


@dataclasses.dataclass(eq=False)
class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that rises linearly over the warmup and then decays over the remaining steps.

    With W warmup steps out of T, step i (counted from 0, in optimizer updates) has the rate
    `peak * (i + 1) / (W + 1)` while i < W, the peak itself at i = W, and from there the decay, whose final
    value belongs to step T, the first one after the end. So no step is wasted on a rate of zero.
    Beyond T the rate stays at its final value.

    The length may be left open: the optimizers here are told it by `fit` (`bind_schedule`).

    Args:
        peak: The highest rate, per update.
        total_steps: T, the number of optimizer updates, or None where it is bound later.
        warmup: W as a number of updates (an int), or as a fraction of T (a float below 1). 0.1 is what BERT
            was fine-tuned with.
        end_factor: The final rate as a fraction of the peak.

    Raises:
        TransformerError: An argument is out of its range; or the schedule is asked for a rate while it has
            no length.

    Example:
        >>> schedule = LinearSchedule(1.0, total_steps=10, warmup=0)
        >>> [round(float(schedule(step)), 2) for step in (0, 5, 10)]
        [1.0, 0.5, 0.0]
    """

    peak: float
    total_steps: int | None = None
    warmup: int | float = 0.1
    end_factor: float = 0.0
    name: str | None = None
    # Whether a warmup longer than the run is refused.
    warmup_within_run: ClassVar[bool] = True

    def __post_init__(self) -> None:
        self.peak = check_number("peak", self.peak, "positive", lambda value: value > 0)
        self.total_steps = check_total_steps(self.total_steps)
        self.warmup = check_warmup(self.warmup, self.total_steps if self.warmup_within_run else None)
        self.end_factor = check_number("end_factor", self.end_factor, "between 0 and 1", lambda f: 0 <= f <= 1)

    def decay(self, progress: Any) -> Any:
        """The rate as a fraction of the peak at a progress from 0 (end of the warmup) to 1 (end)."""
        raise NotImplementedError

    def rise(self, step: Any, warmup: Any) -> Any:
        """The rate as a fraction of the peak at a step of a warmup of so many; both are tensors."""
        return (step + 1.0) / (warmup + 1.0)

    def rate(self, step: Any, total_steps: Any) -> Any:
        """The rate of one step of a run of `total_steps`; both may be tensors.

        Args:
            step: The number of optimizer updates done before this one.
            total_steps: The length of the run, in optimizer updates.

        Returns:
            A float32 scalar.
        """
        step = ops.maximum(ops.cast(step, "float32"), 0.0)
        total = ops.cast(total_steps, "float32")
        if isinstance(self.warmup, int):
            warmup = ops.minimum(ops.cast(self.warmup, "float32"), total)
        else:
            warmup = ops.floor(total * self.warmup)
        progress = ops.clip((step - warmup) / ops.maximum(total - warmup, 1.0), 0.0, 1.0)
        return self.peak * ops.where(step < warmup, self.rise(step, warmup), self.decay(progress))

    def first_rate(self) -> Any:
        """Return the rate of the first update while the length is open: callbacks read a rate whether or not anything trains.

        The peak, where the warmup is a fraction of a length that nobody knows yet.
        """
        return self.rate(0, max(1, self.warmup) if isinstance(self.warmup, int) else 1)

    def __call__(self, step: Any) -> Any:
        if self.total_steps is None:
            raise TransformerError(
                "total_steps must be set before the schedule is used: pass total_steps, or train with one of "
                "tftransformer's optimizers, which learn it when fit starts"
            )
        return self.rate(step, self.total_steps)

    def get_config(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


@keras.saving.register_keras_serializable(package="tftransformer")
class LinearSchedule(Schedule):
    """Linear decay from the peak to `end_factor * peak`. Arguments as in `Schedule`."""

    def decay(self, progress: Any) -> Any:
        return self.end_factor + (1.0 - self.end_factor) * (1.0 - progress)


@keras.saving.register_keras_serializable(package="tftransformer")
class SlantedTriangularSchedule(LinearSchedule):
    """ULMFiT's slanted triangle: up from `peak / ratio` in the first steps, then down to it again.

    The length may be left open, and other arguments are as in `Schedule`.

    Args:
        cut_frac: Length of the rise: a fraction of the run (float below 1), or steps (int).
        ratio: Peak divided by the lowest rate.

    Raises:
        TransformerError: An argument is out of its range.

    Example:
        >>> schedule = SlantedTriangularSchedule(1.0, total_steps=100, cut_frac=0.1, ratio=32)
        >>> [round(float(schedule(step)), 3) for step in (0, 10, 55, 100)]
        [0.031, 1.0, 0.516, 0.031]
    """

    def __init__(
        self,
        peak: float,
        total_steps: int | None = None,
        cut_frac: int | float = 0.1,
        ratio: float = 32.0,
        name: str | None = None,
    ):
        self.ratio = check_number("ratio", ratio, "at least 1", lambda value: value >= 1)
        super().__init__(peak, total_steps, cut_frac, 1.0 / self.ratio, name)

    def rise(self, step: Any, warmup: Any) -> Any:
        # Where nothing rises this is computed and not used.
        return (1.0 + step / ops.maximum(warmup, 1.0) * (self.ratio - 1.0)) / self.ratio

    def get_config(self) -> dict[str, Any]:
        config = {"peak": self.peak, "total_steps": self.total_steps, "cut_frac": self.warmup}
        return {**config, "ratio": self.ratio, "name": self.name}


@keras.saving.register_keras_serializable(package="tftransformer")
class CosineSchedule(Schedule):
    """Half a cosine from the peak to `end_factor * peak`. Arguments as in `Schedule`."""

    def decay(self, progress: Any) -> Any:
        return self.end_factor + (1.0 - self.end_factor) * 0.5 * (1.0 + ops.cos(math.pi * progress))


@keras.saving.register_keras_serializable(package="tftransformer")
@dataclasses.dataclass(eq=False)
class PolynomialSchedule(Schedule):
    """Decay with `(1 - progress) ** power`. Arguments as in `Schedule`, and:

    Args:
        power: Exponent. 1 is the linear schedule; the default 2 spends more of the run at small rates.
    """

    power: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.power = check_number("power", self.power, "positive", lambda value: value > 0)

    def decay(self, progress: Any) -> Any:
        return self.end_factor + (1.0 - self.end_factor) * ops.power(1.0 - progress, self.power)


@keras.saving.register_keras_serializable(package="tftransformer")
@dataclasses.dataclass(eq=False)
class ExponentialSchedule(Schedule):
    """Decay by a constant factor a step, to `end_factor * peak`. Arguments as in `Schedule`.

    `end_factor` must be above 0, which no exponential reaches; 0.01 by default.
    """

    end_factor: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_factor == 0:
            raise TransformerError("end_factor must be above 0 for the exponential schedule; got 0")

    def decay(self, progress: Any) -> Any:
        return ops.exp(math.log(self.end_factor) * progress)


@keras.saving.register_keras_serializable(package="tftransformer")
class ConstantSchedule(Schedule):
    """The peak, for ever, after the warmup. `end_factor` has no effect. Arguments as in `Schedule`."""

    def decay(self, progress: Any) -> Any:
        return ops.ones_like(progress)


@keras.saving.register_keras_serializable(package="tftransformer")
class InverseSqrtSchedule(Schedule):
    """Decay with the inverse square root of the step: at step i from the end of the warmup W on, `peak * sqrt(W / i)`.

    It needs no length where the warmup is a number of updates, and never reaches 0: a run can go on where it ended.
    `end_factor` has no effect. Arguments as in `Schedule`.

    Example:
        >>> schedule = InverseSqrtSchedule(1.0, total_steps=1000, warmup=100)
        >>> [round(float(schedule(step)), 3) for step in (0, 50, 100, 400)]
        [0.01, 0.505, 1.0, 0.5]
    """

    def rate(self, step: Any, total_steps: Any) -> Any:
        step = ops.maximum(ops.cast(step, "float32"), 0.0)
        whole = isinstance(self.warmup, int)
        warmup = self.warmup if whole else ops.floor(ops.cast(total_steps, "float32") * self.warmup)
        warmup = ops.cast(warmup, "float32")
        decayed = ops.sqrt(ops.maximum(warmup, 1.0) / ops.maximum(ops.maximum(step, warmup), 1.0))
        return self.peak * ops.where(step < warmup, self.rise(step, warmup), decayed)


@keras.saving.register_keras_serializable(package="tftransformer")
@dataclasses.dataclass(eq=False)
class WarmedLinearSchedule(Schedule):
    """Linear decay over the whole run, warmup included, never below `end_factor * peak`; as for pretraining.

    Step i of T has the rate `peak * max(end_factor, 1 - i / T)`, times `(i + 1) / W` in the first W steps. A warmup
    (an int) may be longer than the run. Arguments as in `Schedule`.

    Example:
        >>> schedule = WarmedLinearSchedule(1.0, total_steps=100, warmup=10)
        >>> [round(float(schedule(step)), 3) for step in (0, 10, 50, 99)]
        [0.1, 0.9, 0.5, 0.02]
    """

    end_factor: float = 0.02
    warmup_within_run = False

    def rate(self, step: Any, total_steps: Any) -> Any:
        step, total = ops.cast(step, "float32"), ops.cast(total_steps, "float32")
        warmup = self.warmup if isinstance(self.warmup, int) else ops.floor(total * self.warmup)
        rise = ops.minimum(1.0, (step + 1.0) / ops.maximum(ops.cast(warmup, "float32"), 1.0))
        return self.peak * rise * ops.maximum(self.end_factor, (total - step) / total)


_KINDS = (
    LinearSchedule, CosineSchedule, PolynomialSchedule, ExponentialSchedule, ConstantSchedule, SlantedTriangularSchedule,
    InverseSqrtSchedule,
)  # fmt: skip
SCHEDULES: dict[str, type[Schedule]] = dict(zip(SCHEDULE_NAMES, _KINDS, strict=True))
_OPTIONS = {"polynomial": ("end_factor", "power"), "slanted_triangular": ("ratio",)}


def build_schedule(
    name: str, peak: float, total_steps: int | None = None, warmup: int | float | None = None, **options: float
) -> Schedule | float:
    """A schedule by its name.

    `"constant"` without a warmup is the plain float `peak`, so that Keras's LearningRateScheduler and
    ReduceLROnPlateau, which set the rate, can be used with it.

    Args:
        name: One of "linear", "cosine", "polynomial", "exponential", "constant", "slanted_triangular", "inverse_sqrt".
        peak: The highest rate.
        total_steps: The length in optimizer updates; None leaves it to `fit`.
        warmup: Updates (int) or a fraction of the length (float below 1). None means 0.1, and 0 for
            "constant".
        options: `end_factor`, and `power` for "polynomial"; `ratio` for "slanted_triangular", whose `cut_frac` the
            warmup is.

    Returns:
        A `Schedule`, or a float.

    Raises:
        TransformerError: An unknown name or option, or a number out of its range.

    Example:
        >>> build_schedule("constant", 2e-5)
        2e-05
    """
    check_schedule(name)
    known = _OPTIONS.get(name, ("end_factor",))
    for option in options:
        if option not in known:
            raise TransformerError(
                f"schedule {name!r} takes the options {', '.join(known)}; got {option!r}{near_miss(option, known)}"
            )
    if name == "constant" and not warmup:
        check_warmup(warmup or 0, check_total_steps(total_steps))
        return check_number("peak", peak, "positive", lambda value: value > 0)
    return SCHEDULES[name](peak, total_steps, 0.1 if warmup is None else warmup, **options)


def check_total_steps(total_steps: Any) -> int | None:
    """`total_steps` as an int, or None.

    Raises:
        TransformerError: It is neither None nor a whole number of at least 1.
    """
    if total_steps is None:
        return None
    # NumPy's integers are `Integral`; so is bool, which is a slip.
    if isinstance(total_steps, bool) or not isinstance(total_steps, Integral) or total_steps < 1:
        raise TransformerError(f"total_steps must be a whole number of at least 1; got {total_steps!r}")
    return int(total_steps)
