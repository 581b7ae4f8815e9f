"""Types and checks of training arguments that need no Keras, so that a wrong one is refused before Keras is loaded."""

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from tftransformer.errors import TransformerError, check_choice

if TYPE_CHECKING:
    import keras

# A built Keras model or a task. Keras itself is not imported: strings are parsed long before it is needed.
Model: TypeAlias = "keras.Model"

# In the order of the classes in `schedules`.
SCHEDULE_NAMES = ("linear", "cosine", "polynomial", "exponential", "constant", "slanted_triangular", "inverse_sqrt")


def check_schedule(name: Any) -> None:
    """Raise a `TransformerError` unless `name` is that of a schedule."""
    check_choice("schedule", name, SCHEDULE_NAMES)


def check_warmup(warmup: Any, total_steps: int | None = None) -> int | float:
    """`warmup`, a number of steps (an int) or a fraction of the run (a float below 1).

    Raises:
        TransformerError: It is neither, or longer than `total_steps`.
    """
    if isinstance(warmup, bool) or not isinstance(warmup, (int, float)):
        raise TransformerError(f"warmup must be a number of steps or a fraction below 1; got {warmup!r}")
    if isinstance(warmup, float) and not 0.0 <= warmup < 1.0:
        raise TransformerError(f"warmup as a fraction must be at least 0 and below 1; got {warmup!r}")
    if isinstance(warmup, int) and warmup < 0:
        raise TransformerError(f"warmup must not be negative; got {warmup!r}")
    if isinstance(warmup, int) and total_steps is not None and warmup > total_steps:
        raise TransformerError(f"warmup must not exceed total_steps, {total_steps}; got {warmup!r}")
    return warmup


def check_number(argument: str, value: Any, rule: str, holds: Callable[[float], bool]) -> float:
    """`value` as a float.

    Args:
        argument: Name of the argument.
        value: A number of Python or NumPy.
        rule: The requirement in words, such as "positive".
        holds: The requirement as a function.

    Raises:
        TransformerError: It is no number, not finite, or breaks the rule.
    """
    if isinstance(value, (bool, str)) or not hasattr(value, "__float__"):
        raise TransformerError(f"{argument} must be a number; got {value!r}")
    if not math.isfinite(float(value)) or not holds(float(value)):
        raise TransformerError(f"{argument} must be {rule}; got {value!r}")
    return float(value)


def check_augmented(methods: Iterable[Any]) -> None:
    """Raise a `TransformerError` where changed copies of the texts would go to a method that takes no updates."""
    for method in methods:
        if not method.takes_updates:
            raise TransformerError(f"augmentation cannot go with {method}, which reads the texts as they are")


def check_run_length(steps: int | None, minutes: float | None) -> None:
    """Raise a `TransformerError` unless one of the two is given, and above 0."""
    if (minutes is None) == (steps is None):
        raise TransformerError(
            f"give either minutes or steps, how long to train; got minutes={minutes} and steps={steps}"
        )
    length = steps if minutes is None else minutes
    if not length > 0:
        raise TransformerError(f"minutes and steps must be above 0; got {length}")
