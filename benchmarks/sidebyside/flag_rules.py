"""Rules that flags of several benchmarks keep, each by the words that a message says it with."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tftransformer.errors import TransformerError

RULES = {
    "at least 1": lambda value: value >= 1,
    "at least 2": lambda value: value >= 2,
    "at least 2, the special tokens": lambda value: value >= 2,
    "above 0": lambda value: value > 0,
    "above 0 and below 1": lambda value: 0 < value < 1,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    "a folder": lambda value: Path(value).is_dir(),
}


def check_flags(rules: Mapping[str, Sequence[str]], values: Mapping[str, Any]) -> None:
    """Raise a `TransformerError` for the first flag that breaks its rule; one that is None or missing keeps it.

    Args:
        rules: Names of flags by a key of `RULES`.
        values: By name, such as `FLAGS.flag_values_dict()`.
    """
    for rule, names in rules.items():
        for name in names:
            value = values.get(name)
            if value is not None and not RULES[rule](value):
                raise TransformerError(f"{name} must be {rule}; got {value!r}")
