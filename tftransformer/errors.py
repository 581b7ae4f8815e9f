"""One-line errors for mistakes a user can make, with near misses for names that were almost right."""

import difflib
import numbers
from collections.abc import Iterable
from typing import Any


class TransformerError(ValueError):
    """A mistake in what the user passed: one plain line naming the argument, the rule and the value.

    It is a `ValueError`, so code that knows only Keras still catches it. The examples print its
    message without a traceback and exit with status 1.

    Example:
        >>> raise TransformerError("sequence_length must be at least 2; got 1")
        Traceback (most recent call last):
        ...
        tftransformer.errors.TransformerError: sequence_length must be at least 2; got 1
    """

    # Keras adds many lines about the layer and its arguments to errors raised inside `call`, unless this says
    # that it has done so already.
    _keras_call_info_injected = True


def near_miss(name: str, known: Iterable[str]) -> str:
    """The tail of an error message that suggests the known names closest to `name`.

    Args:
        name: Name that the user wrote.
        known: Names that would have been right.

    Returns:
        `"; did you mean 'a' or 'b'?"`, or an empty string where nothing is close.

    Example:
        >>> near_miss("linaer", ["linear", "constant"])
        "; did you mean 'linear'?"
    """
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def check_choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Raise a `TransformerError` that suggests the nearest unless `value` is one of some names."""
    known = list(known)
    if value not in known:
        suggestion = near_miss(value, known) if isinstance(value, str) else ""
        raise TransformerError(f"{name} must be one of {', '.join(known)}; got {value!r:.80}{suggestion}")


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raise a `TransformerError` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral) or value < least:
        rule = "a positive integer" if least == 1 else f"an integer of at least {least}"
        raise TransformerError(f"{name} must be {rule}; got {value!r}")
