"""Tasks by name: what a multi-task classifier may be told of them, and data by task."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, near_miss
from tftransformer.tasks.labelled import ClassificationTask

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
        folded = name.lower()
        if folded == "val" or folded.startswith("val_"):
            raise TransformerError(
                f"tasks must not be called val or val_…, as Keras calls what it validates; got {name!r}"
            )
        if folded in seen:
            raise TransformerError(
                f"tasks must have different names, also without regard to case; got {seen[folded]!r} and {name!r}"
            )
        seen[folded] = name
    return names


def as_tasks(tasks: Any) -> dict[str, ClassificationTask]:
    """Tasks in any form that a `MultiTaskClassifier` takes.

    Args:
        tasks: By name: labels, a Split with targets, a `ClassificationTask`, or what `describe_tasks` wrote.

    Returns:
        Tasks of their own: nothing that the caller holds is changed later.

    Raises:
        TransformerError: No tasks, names that clash, or labels that are none.

    Example:
        >>> as_tasks({"sentiment": ["no", "yes"]})["sentiment"].labels
        ('no', 'yes')
    """
    if not isinstance(tasks, Mapping):
        raise TransformerError(f"tasks must be labels or a Split by name; got {tasks!r:.80}")
    check_task_names(tasks)
    return {name: _as_task(name, given) for name, given in tasks.items()}


def _as_task(name: str, given: Any) -> ClassificationTask:
    if isinstance(given, ClassificationTask):
        return dataclasses.replace(given)
    if isinstance(given, Split):
        options = {"labels": given.labels, "multi_label": given.multi_label, "text_pairs": given.is_pair}
    else:
        options = given if isinstance(given, Mapping) else {"labels": given}
    try:
        return ClassificationTask(**options)
    except TypeError:
        raise TransformerError(f"task {name!r} must have labels, or be a Split; got {given!r:.80}") from None
    except TransformerError as error:
        raise TransformerError(f"task {name!r}: {error}") from None


def describe_tasks(tasks: Mapping[str, ClassificationTask]) -> dict[str, dict[str, Any]]:
    """Tasks as JSON values, which `as_tasks` reads."""
    return {name: {**dataclasses.asdict(task), "labels": list(task.labels)} for name, task in tasks.items()}


def by_task(data: Any, tasks: Iterable[str], argument: str, every: bool = False) -> dict[str, Any]:
    """Data by task, checked, in the order of the tasks.

    Args:
        data: What a user passed.
        tasks: The names there are.
        argument: What the caller calls the data, for messages.
        every: Whether no task may be missing.

    Raises:
        TransformerError: No mapping, an unknown task, or one without data.

    Example:
        >>> by_task({"mrpc": ["a"], "sst2": ["b"]}, ["sst2", "mrpc"], "x")
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
                f"{argument}: there is no task {name!r}, the tasks are {', '.join(tasks)}{near_miss(str(name), tasks)}"
            )
    for name in tasks if every else data:
        if data.get(name) is None:
            raise TransformerError(f"{argument} must have rows for every task; {name!r} has none")
    return {name: data[name] for name in tasks if name in data}
