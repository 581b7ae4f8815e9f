"""The tasks of a multi-task classifier as JSON values, and its folder."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any

from tftransformer import patterns
from tftransformer.checkpoints.own import save_preset
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError
from tftransformer.finetuning.modifications import describe_modifications
from tftransformer.tasks.labelled import ClassificationTask
from tftransformer.tasks.task_names import check_task_names

# What may start from random numbers when a preset's weights are loaded.
FRESH = ("head/.*", r"extra_block_\d+/.*", "pooler/.*")
_KINDS = {"labels": list, "multi_label": bool, "threshold": (int, float), "text_pairs": (bool, type(None))}


def as_tasks(tasks: Any) -> dict[str, ClassificationTask]:
    """Tasks in any form that a `MultiTaskClassifier` takes.

    Args:
        tasks: By name: labels, a Split with targets, a `ClassificationTask`, or what `describe_tasks` wrote. Or pairs
            of name and one of these, in which a name could stand twice.

    Returns:
        Tasks of their own: nothing that the caller holds is changed later.

    Raises:
        TransformerError: No tasks, names that clash, or labels that are none.

    Example:
        >>> as_tasks({"sentiment": ["no", "yes"]})["sentiment"].labels
        ('no', 'yes')
    """
    pairs = list(tasks.items() if isinstance(tasks, Mapping) else tasks)
    check_task_names(name for name, _ in pairs)
    return {name: _as_task(name, given) for name, given in pairs}


def _as_task(name: str, given: Any) -> ClassificationTask:
    if isinstance(given, ClassificationTask):
        return dataclasses.replace(given)
    if isinstance(given, Split):
        options = {"labels": given.labels, "multi_label": given.multi_label, "text_pairs": given.is_pair}
    elif isinstance(given, Mapping):
        options = _checked(name, given)
    elif isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise TransformerError(f"task {name!r} must have labels, or be a Split; got {given!r:.80}")
    else:
        options = {"labels": list(given)}
    try:
        return ClassificationTask(**options)
    except TransformerError as error:
        raise TransformerError(f"task {name!r}: {error}") from None


def _checked(name: str, stated: Mapping[str, Any]) -> dict[str, Any]:
    fits = set(stated) <= set(_KINDS) and "labels" in stated
    if not fits or not all(isinstance(stated[key], _KINDS[key]) for key in stated):
        raise TransformerError(
            f"task {name!r} must state labels and may state multi_label, threshold and text_pairs; got {stated!r:.80}"
        )
    return dict(stated)


def describe_tasks(tasks: Mapping[str, ClassificationTask]) -> dict[str, dict[str, Any]]:
    """Tasks as JSON values, which `as_tasks` reads."""
    return {name: {**dataclasses.asdict(task), "labels": list(task.labels)} for name, task in tasks.items()}


def unknown_heads(tasks: Mapping[str, ClassificationTask], saved: Any) -> list[str]:
    """Patterns of the heads that a preset saved with `saved` has no weights for.

    A head is its labels: with others, even as many, its rows would answer other questions.
    """
    known = as_tasks(saved) if saved else {}
    return [
        f"head/{name}/.*"
        for name, task in tasks.items()
        if name not in known
        or (known[name].labels, known[name].multi_label) != (task.labels, task.multi_label)
    ]


def save_tasks(
    model: Any, folder: str | os.PathLike, *, dtype: str | None = None, overwrite: bool = False
) -> None:
    """Write a multi-task classifier's weights, tokenizer, tasks and settings.

    Args:
        model: A `MultiTaskClassifier`.
        folder: Where to; appears whole or not at all.
        dtype: Of the stored weights, such as "float16". None: as they are, bit by bit.
        overwrite: Replace a folder that holds files.

    Raises:
        TransformerError: The folder holds files, or the disk refuses.
    """
    save_preset(
        folder,
        config=model.config,
        tokenizer=model.tokenizer,
        variables=patterns.addresses(model),
        pooling=model.pooling,
        task=model.task_settings(),
        modifications=describe_modifications(model),
        dtype=dtype,
        overwrite=overwrite,
    )
