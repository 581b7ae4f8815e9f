"""The choice of the layers that a shallower encoder keeps, and its config."""

import operator
from collections.abc import Sequence
from typing import Any

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError, near_miss

CHOICES = ("first", "last", "every", "every_second")


def choose_layers(
    layers: int | str | Sequence[int] | None, available: int, count: int | None = None
) -> tuple[int, ...]:
    """The numbers of the blocks to keep, in their new order.

    Args:
        layers: A number n (the first n), "first:n", "last:n", "every:n" (block 0 and every nth after it),
            "every_second" (blocks 0, 2, 4, ...; Sanh et al. 2019 made DistilBERT from one block in two; "every_second:n"
            the first n of them) or the numbers themselves, from 0, in any order. None: the first `count`.
        available: Number of layers there are.
        count: Number of layers wanted, if that is known; "first" and "last" need no number then.

    Example:
        >>> choose_layers("last:2", 6), choose_layers("every:2", 6), choose_layers([0, 5], 6)
        ((4, 5), (0, 2, 4), (0, 5))
    """
    if layers is None:
        layers = available if count is None else count
    if isinstance(layers, int) and not isinstance(layers, bool):
        chosen = tuple(range(_checked(layers, available)))
    elif isinstance(layers, str):
        chosen = _named(layers, available, count)
    else:
        chosen = _numbered(layers, available)
    if count is not None and len(chosen) != count:
        raise TransformerError(
            f"layers must choose as many as the config has, {count}; {layers!r} chooses {len(chosen)}"
        )
    return chosen


def keep_in_config(config: TransformerConfig, kept: Sequence[int]) -> TransformerConfig:
    """The config of an encoder that applies only some layers of another.

    Example:
        >>> config = TransformerConfig(vocabulary_size=9, num_layers=3, hidden_dim=8, num_heads=(4, 3, 2), head_dim=2,
        ...                            intermediate_dim=8)
        >>> keep_in_config(config, [0, 2]).num_heads
        (4, 2)
    """
    before, blocks = config.num_layers, config.num_blocks
    if 1 < blocks < before and tuple(kept) != tuple(range(before)):
        raise TransformerError(
            f"layers must all stay where groups of them share blocks; the encoder has {before} layers of {blocks} "
            "blocks"
        )
    fields: dict[str, Any] = {"num_layers": len(kept)}
    # Fields that only follow the number of layers until somebody sets them.
    for name in ("num_distinct_blocks", "num_decoder_layers"):
        if getattr(config, name) == before:
            fields[name] = len(kept)
    for name in ("num_heads", "num_key_value_heads"):
        numbers = getattr(config, name)
        if isinstance(numbers, tuple) and blocks == before:
            fields[name] = tuple(numbers[layer] for layer in kept)
    return config.replace(**fields)


def _named(layers: str, available: int, count: int | None) -> tuple[int, ...]:
    name, _, number = layers.partition(":")
    if name not in CHOICES or number and not number.isdecimal():
        raise TransformerError(
            f"layers must be a number, first:N, last:N, every:N, every_second or numbers of blocks; got {layers!r}"
            f"{near_miss(name, CHOICES)}"
        )
    if name == "every_second":
        every = tuple(range(0, available, 2))
        return every[: _checked(int(number), len(every), " of every second")] if number else every
    if name == "every" and number:
        return tuple(range(0, available, _checked(int(number), available)))
    wanted = int(number) if number else None if name == "every" else count
    if wanted is None:
        raise TransformerError(f"layers must say how many, as in {name}:6; got {layers!r}")
    wanted = _checked(wanted, available)
    return tuple(range(wanted) if name == "first" else range(available - wanted, available))


def _numbered(layers: Any, available: int) -> tuple[int, ...]:
    try:
        chosen = tuple(operator.index(number) for number in layers)
    except TypeError:
        raise TransformerError(
            f"layers must be a number, a choice or a list of whole numbers; got {layers!r}"
        ) from None
    wrong = [number for number in chosen if not 0 <= number < available]
    if wrong or not chosen:
        raise TransformerError(
            f"layers must be numbers of blocks between 0 and {available - 1}; got {wrong[0] if wrong else 'none'}"
        )
    return chosen


def _checked(number: int, available: int, what: str = "") -> int:
    if not 1 <= number <= available:
        raise TransformerError(
            f"layers must be between 1 and {available}, the blocks{what} that there are; got {number}"
        )
    return number
