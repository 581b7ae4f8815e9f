"""Checks of what names tasks: their names, and data by name."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tftransformer.errors import TransformerError, near_miss

# Names of tasks are parts of the names of weights, of logged values and of the signatures of a SavedModel.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_task_names(names: Iterable[str]) -> tuple[str, ...]:
    """Names that tell tasks apart.

    Raises:
        TransformerError: There are none, one is no plain name, or two are the same.

    Example:
        >>> check_task_names(["sst2", "mrpc"])
        ('sst2', 'mrpc')
    """
    names = tuple(names)
    if not names:
        raise TransformerError("tasks must have at least one task; got none")
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise TransformerError(
                f"tasks must have names of letters, digits and _ that begin with a letter; got {name!r}"
            )
        if name.lower() == "val" or name.lower().startswith("val_"):
            raise TransformerError(
                f"tasks must not be called val or val_…, as Keras calls what it validates; got {name!r}"
            )
        if name.lower() in seen:
            raise TransformerError(
                f"tasks must have different names, also without regard to case; got {seen[name.lower()]!r} and "
                f"{name!r}"
            )
        seen[name.lower()] = name
    return names


def check_task_data(data: Any, tasks: Iterable[str], argument: str, every: bool = False) -> dict[str, Any]:
    """Data by task, in the order of the tasks.

    Args:
        data: What a user passed.
        tasks: The names there are.
        argument: How the caller calls the data, for messages.
        every: Whether no task may be missing.

    Raises:
        TransformerError: No mapping, an unknown task, or one without data.

    Example:
        >>> check_task_data({"mrpc": ["a"], "sst2": ["b"]}, ["sst2", "mrpc"], "x")
        {'sst2': ['b'], 'mrpc': ['a']}
    """
    tasks = tuple(tasks)
    if not isinstance(data, Mapping) or not data:
        raise TransformerError(
            f"{argument} must have data by task, such as {{{tasks[0]!r}: split}}; got {type(data).__name__}"
            f"{' without any' if isinstance(data, Mapping) else ''}"
        )
    for name in data:
        if name not in tasks:
            raise TransformerError(
                f"{argument}: there is no task {name!r}, the tasks are {', '.join(tasks)}{near_miss(name, tasks)}"
            )
    missing = [name for name in tasks if name not in data or data[name] is None]
    if every and missing:
        raise TransformerError(f"{argument} must have rows for every task; {missing[0]!r} has none")
    return {name: data[name] for name in tasks if name in data and data[name] is not None}
