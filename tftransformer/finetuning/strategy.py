"""The short spellings of fine-tuning strategies, as examples and searches take them: `full`, `freeze:8`, `lora:8`.

A strategy changes a model before `compile`, and may bring arguments for `compile` and for `fit`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.defaults import LEARNING_RATE

# The methods themselves need Keras and are loaded when they are applied: names and numbers are read without.
Change = Callable[[Any, Any], dict[str, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a name means.

    Args:
        about: For people.
        change: From a model and the value behind the colon to what `compile` and `fit` are given beside.
        value: How a value is read, `int` or `float`; None where there is none.
        default: Where none is given.
        rule: What values may be, for messages; empty for "a positive integer".
        holds: The rule.
        rate: The highest rate where none is given; None where pretrained weights train, which have the rate that
            their preset advises. Chosen on validation rows of SST-2 (BUILD_NOTES.md, "Which strategy").
    """

    about: str
    change: Change
    value: type | None = None
    default: Any = None
    rule: str = "a positive integer"
    holds: Callable[[Any], bool] = lambda value: value >= 1
    rate: float | None = None


def _full(model: Any, _: Any) -> dict:
    return {}


def _freeze(model: Any, layers: int) -> dict:
    from tftransformer.finetuning.freezing import freeze

    freeze(model, layers=layers)
    return {}


def _head(model: Any, _: Any) -> dict:
    from tftransformer.finetuning.freezing import train_only
    from tftransformer.finetuning.parts import fresh_patterns

    train_only(model, fresh_patterns(model, None))
    return {}


def _unfreeze(_: Any, blocks: int) -> dict:
    from tftransformer.finetuning.unfreezing import GradualUnfreezing

    return {"fit": {"unfreezing": GradualUnfreezing(blocks_per_stage=blocks)}}


def _layerwise(_: Any, decay: float) -> dict:
    return {"compile": {"layer_decay": decay}}


def _bitfit(model: Any, _: Any) -> dict:
    from tftransformer.finetuning.freezing import train_only
    from tftransformer.finetuning.parts import fresh_patterns

    train_only(model, [r".*/(bias|beta)", *fresh_patterns(model, None)])
    return {}


def _lora(model: Any, rank: int) -> dict:
    from tftransformer.finetuning.lora import enable_lora

    enable_lora(model, rank)
    return {}


def _adapter(model: Any, width: int) -> dict:
    from tftransformer.finetuning.adapters import add_adapter

    add_adapter(model, bottleneck_dim=width)
    return {}


def _prefix(model: Any, length: int) -> dict:
    from tftransformer.finetuning.prefix_tuning import add_prefix

    add_prefix(model, length)
    return {}


KINDS = {
    "full": Kind("everything trains", _full),
    "freeze": Kind(
        "the embeddings and the first N blocks are frozen", _freeze, int, 8, "an integer of at least 0",
        lambda value: value >= 0,
    ),
    "head": Kind("only what is not pretrained trains", _head, rate=1e-3),
    "unfreeze": Kind("the head trains first, then at least N blocks more at a time, from the top", _unfreeze, int, 1),
    "layerwise": Kind(
        "each block trains at N times the rate of the one above", _layerwise, float, 0.9, "a number above 0 and at most 1",
        lambda value: 0 < value <= 1,
    ),
    "bitfit": Kind("only biases train", _bitfit, rate=1e-3),
    "lora": Kind("low-rank changes of rank N of queries and values", _lora, int, 8, rate=1e-3),
    "adapter": Kind("a bottleneck of width N in each block", _adapter, int, 48, rate=1e-3),
    "prefix": Kind("N trained positions in front of each attention", _prefix, int, 10, rate=1e-3),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Strategy:
    """A strategy that was read.

    Attributes:
        name: A key of `KINDS`.
        value: The number behind the colon; None where there is none.
    """

    name: str
    value: int | float | None = None

    def __str__(self) -> str:
        return self.name if self.value is None else f"{self.name}:{self.value}"

    def apply(self, model: Any) -> dict[str, dict[str, Any]]:
        """Change the model.

        Returns:
            {"compile": arguments, "fit": arguments}, each where there are some.

        Raises:
            TransformerError: The model cannot be changed so.
        """
        try:
            return KINDS[self.name].change(model, self.value)
        except TransformerError as error:
            raise TransformerError(f"strategy {self} cannot be applied: {error}") from error

    def learning_rate(self, advice: Mapping[str, Any]) -> float:
        """The highest rate to train with where a user names none.

        Args:
            advice: A classifier's `advice`: `learning_rate`, and `frozen_learning_rate` where its preset has one.
        """
        if (rate := KINDS[self.name].rate) is not None:
            return rate
        rate = advice.get("learning_rate", LEARNING_RATE)
        return advice.get("frozen_learning_rate", rate) if self.name == "freeze" and self.value else rate


def parse_strategy(text: str) -> Strategy:
    """Read `full`, `freeze:8`, `head`, `unfreeze`, `layerwise:0.9`, `bitfit`, `lora:8`, `adapter:48` or `prefix:10`.

    Args:
        text: A name, or a name, a colon and a number.

    Raises:
        TransformerError: An unknown name, or a number that is none or out of its range.

    Example:
        >>> parse_strategy("lora")
        Strategy(name='lora', value=8)
    """
    name, colon, number = text.strip().partition(":")
    if name not in KINDS:
        raise TransformerError(
            f"strategy must be one of {', '.join(KINDS)}; got {text!r}{near_miss(name, KINDS)}"
        )
    kind = KINDS[name]
    if not colon:
        return Strategy(name, kind.default)
    if kind.value is None:
        raise TransformerError(f"strategy {name} takes no number; got {text!r}")
    try:
        value = kind.value(number)
        valid = kind.holds(value)
    except ValueError:
        valid = False
    if not valid:
        raise TransformerError(f"strategy {name} takes {kind.rule}; got {text!r}")
    return Strategy(name, value)
