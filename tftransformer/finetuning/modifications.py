"""Changes of a model's structure that a saved model has to repeat before its weights fit.

They are read off the model itself, so there is no list that could go stale.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.adapters import describe_adapters, replay_adapters
from tftransformer.finetuning.freezing import freeze, frozen_addresses
from tftransformer.finetuning.lora import describe_lora, replay_lora
from tftransformer.finetuning.prefix_tuning import describe_prefixes, replay_prefixes

_KINDS = {
    "lora": (describe_lora, replay_lora),
    "adapter": (describe_adapters, replay_adapters),
    "prefix": (describe_prefixes, replay_prefixes),
}


def describe_modifications(model: Any) -> list[dict[str, Any]]:
    """LoRA, adapters and prefixes of a model, as JSON values.

    Example:
        >>> describe_modifications(classifier)  # doctest: +SKIP
        [{'kind': 'lora', 'rank': 8, 'alpha': 8.0, 'dropout': 0.0, 'merged': False, 'targets': [...]}]
    """
    return [record for describe, _ in _KINDS.values() for record in describe(model)]


def replay_modifications(model: Any, records: Iterable[Mapping[str, Any]]) -> None:
    """Change a fresh model as `describe_modifications` said.

    Raises:
        TransformerError: A record is of no known kind, lacks something, or does not fit the model.
    """
    for record in records:
        kind = record.get("kind") if isinstance(record, Mapping) else None
        if kind not in _KINDS:
            raise TransformerError(f"modifications must be of the kinds {', '.join(_KINDS)}; got {kind!r}")
        try:
            _KINDS[kind][1](model, [record])
        except (KeyError, TypeError, ValueError) as error:
            raise TransformerError(f"a modification of kind {kind!r} is damaged: {error!r}") from None


def structure_of(model: Any) -> dict[str, list]:
    """What a config has to say of a model beyond the arguments of its constructor: what was put in, what is frozen."""
    return {"modifications": describe_modifications(model), "frozen": list(frozen_addresses(model))}


def restore_structure(
    model: Any, modifications: Iterable[Mapping[str, Any]] = (), frozen: Iterable[str] = ()
) -> None:
    """Change and freeze a fresh model as `structure_of` said."""
    replay_modifications(model, modifications)
    if patterns := [re.escape(name) for name in frozen]:
        freeze(model, patterns=patterns)
