"""Structure to restore in a model before its saved weights fit: the layers that methods put in, and what is frozen.

It is read from the model itself, so there is no list that could go stale.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.freezing import freeze, frozen_addresses
from tftransformer.finetuning.methods import METHODS
from tftransformer.finetuning.methods.base import Method
from tftransformer.finetuning.strategy import method_class, method_from_config
from tftransformer.models.task import Task


def _inserting() -> dict[str, type[Method]]:
    """The methods that put layers in, by name."""
    classes = {name: method_class(name) for name in METHODS}
    return {name: kind for name, kind in classes.items() if kind.inserted}


def inserted_patterns() -> tuple[str, ...]:
    """The addresses of whatever a method puts in: it starts from random numbers, whatever else was loaded."""
    return tuple(pattern for kind in _inserting().values() for pattern in kind.inserted)


def adapter_config(model: Model) -> list[dict[str, Any]]:
    """Return what methods have put into a model, as JSON values.

    Example:
        >>> adapter_config(classifier)  # doctest: +SKIP
        [{'kind': 'lora', 'rank': 8, 'alpha': 8.0, 'dropout': 0.0, 'merged': False, 'targets': [...]}]
    """
    return [modification for kind in _inserting().values() for modification in kind.modifications(model)]


def restore_adapters(model: Model, modifications: Iterable[Mapping[str, Any]]) -> None:
    """Change a fresh model as `adapter_config` said.

    Raises:
        TransformerError: A modification is of no known kind, lacks something, or does not fit the model.
    """
    kinds = _inserting()
    for modification in modifications:
        name = modification.get("kind") if isinstance(modification, Mapping) else None
        if name not in kinds:
            raise TransformerError(f"modifications must be of the kinds {', '.join(kinds)}; got {name!r}")
        try:
            kinds[name].restore(model, modification)
        except TransformerError:
            raise
        except (KeyError, TypeError, ValueError) as error:
            raise TransformerError(f"a modification of kind {name!r} is damaged: {error!r}") from None


def finetuning_config(model: Task) -> dict[str, Any]:
    """Return the entries of a task's config beyond its constructor's arguments.

    They are what was put in, what is frozen, the methods that `compile` and `fit` read, except a teacher, and the rate
    that the applied methods want.
    """
    return {
        "modifications": adapter_config(model),
        "frozen": list(frozen_addresses(model)),
        "methods": [method.to_config() for method in model.methods if method.name in METHODS],
        "method_rate": model.method_rate,
    }


def restore_finetuning(
    model: Task,
    modifications: Iterable[Mapping[str, Any]] = (),
    frozen: Iterable[str] = (),
    methods: Iterable[Mapping[str, Any]] = (),
    method_rate: float | None = None,
) -> None:
    """Change and freeze a fresh task as `finetuning_config` said."""
    restore_adapters(model, modifications)
    if patterns := [re.escape(name) for name in frozen]:
        freeze(model, patterns=patterns)
    model.methods = tuple(map(method_from_config, methods))
    model.method_rate = method_rate


FINETUNING_KEYS = ("modifications", "frozen", "methods", "method_rate")
