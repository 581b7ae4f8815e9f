"""What everything shares that puts parts into a model: which places, and what else trains."""

import re
from collections.abc import Iterable
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import check_patterns
from tftransformer.layers.parts import parts_of
from tftransformer.patterns import addresses, select

# Addresses of what LoRA, adapters and prefixes put in: it starts from random numbers, whatever else was loaded.
INSERTED = (".*/lora/(down|up)", r".*_adapters/\w+/.*", ".*/prefix/(keys|values)")


def selected_parts(model: Any, kind: type, patterns: Any, argument: str) -> dict[str, Any]:
    """Those of `parts_of` that patterns match from end to end.

    Raises:
        TransformerError: A pattern is malformed or matches nothing.
    """
    parts = parts_of(model, kind)
    if not parts:
        raise TransformerError(f"model must be built, with a {kind.__name__} in it; got one without any")
    return {name: parts[name] for name in select(parts, patterns, argument)}


def check_count(name: str, value: Any, most: int | None = None) -> int:
    """A whole number of at least 1.

    Raises:
        TransformerError: It is none, or more than `most`.
    """
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not whole or (most is not None and value > most):
        rule = "a positive integer" if most is None else f"an integer from 1 to {most}"
        raise TransformerError(f"{name} must be {rule}; got {value!r}")
    return value


def fresh_patterns(model: Any, train: str | Iterable[str] | None) -> list[str]:
    """What trains beside what is put in: `train`, or where that is None whatever of a task is not pretrained, and the head."""
    if train is not None:
        check_patterns(model, train)
        return [train] if isinstance(train, str) else list(train)
    names = addresses(model)
    fresh = dict.fromkeys([*getattr(model, "fresh", ()), "head/.*"])
    # A model that starts from random numbers says so of everything, which is not what is asked for here.
    return [p for p in fresh if p != ".*" and any(re.fullmatch(p, name) for name in names)]
