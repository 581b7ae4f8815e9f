"""Numbers out of flags that take lists."""

from collections.abc import Callable, Sequence
from typing import Any

from tftransformer.errors import TransformerError


def read_range(name: str, values: Sequence[str], kind: Callable[[str], Any]) -> Any:
    """A flag of one number, or of the two ends of a range, as a search space has it.

    Args:
        name: The flag.
        values: What was given.
        kind: int or float.

    Raises:
        TransformerError: It is neither.

    Example:
        >>> read_range("epochs", ["2", "5"], int), read_range("epochs", ["3"], int)
        ((2, 5), 3)
    """
    try:
        numbers = tuple(kind(value) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) not in (1, 2):
        raise TransformerError(f"{name} must be a number, or two with a comma; got {','.join(values)!r}")
    return numbers if len(numbers) == 2 else numbers[0]


def read_numbers(name: str, values: Sequence[str], kind: Callable[[str], Any]) -> tuple:
    """The numbers of a flag that takes a list.

    Raises:
        TransformerError: One of them is none.

    Example:
        >>> read_numbers("train_examples", ["50", "200"], int)
        (50, 200)
    """
    try:
        return tuple(kind(value) for value in values)
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise TransformerError(
            f"{name} must be {what} with commas between; got {','.join(values)!r}"
        ) from None
