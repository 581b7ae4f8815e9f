"""Fine-tuning strategies: one method or several together, and the strings that mean them, such as `lora:8`."""

import dataclasses
import importlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods import METHODS
from tftransformer.finetuning.methods.base import AND, LEARNING_RATE, Method, apply_methods, joined_names

if TYPE_CHECKING:
    from tftransformer.finetuning.freezing import FreezeSummary


@dataclasses.dataclass(frozen=True)
class Strategy:
    """Methods that are applied together.

    Args:
        methods: Methods in the order in which they change a model.

    Raises:
        TransformerError: There is none, `full` or `probe` stands beside others, or a method stands there twice that may not.

    Example:
        >>> str(parse_strategy("lora + layerwise:0.9"))
        'lora:8+layerwise:0.9'
    """

    methods: tuple[Method, ...]

    def __post_init__(self) -> None:
        names = [method.name for method in self.methods]
        if not names:
            raise TransformerError("strategy must name a method, such as 'full' or 'lora:8'; got none")
        for method in self.methods:
            if method.alone and len(names) > 1:
                raise TransformerError(f"strategy {method.name} goes with no other method; got {self}")
        for method in self.methods:
            if method.once and names.count(method.name) > 1:
                raise TransformerError(f"strategy must name {method.name} once; got {self}")

    def __str__(self) -> str:
        return joined_names(self.methods)

    def apply(self, model: Model) -> "FreezeSummary":
        """Change a model: insert the layers of the methods, freeze and unfreeze, and have a task remember the rest.

        If several methods say what alone trains, all of that trains; what one freezes is frozen. A task keeps the
        methods that `compile` and `fit` have to know of, in place of those that it had.

        Returns:
            A summary of what is frozen now.

        Raises:
            TransformerError: The model cannot be changed this way, or two methods want the same place in it; it is
                left as it was.
        """
        return apply_methods(self.methods, model)

    def learning_rate(self, hparams: Mapping[str, Any]) -> float:
        """The highest rate to train with where a user names none.

        Args:
            hparams: Task's `recommended_hparams`: `learning_rate`, and `frozen_learning_rate` where its preset has one.
        """
        rates = [rate for method in self.methods if (rate := method.learning_rate(hparams)) is not None]
        return max(rates, default=hparams.get("learning_rate", LEARNING_RATE))


def as_strategy(methods: Any) -> Strategy:
    """A `Strategy`, a `Method`, a string, or several of the last two in a list, as one strategy.

    Raises:
        TransformerError: It is none of these.

    Example:
        >>> from tftransformer.finetuning.methods import LoRA
        >>> as_strategy([LoRA(rank=4), "layerwise:0.9"]) == as_strategy("lora:4+layerwise:0.9")
        True
    """
    if isinstance(methods, Strategy):
        return methods
    if isinstance(methods, str):
        return parse_strategy(methods)
    if isinstance(methods, Method):
        return Strategy((methods,))
    if isinstance(methods, Iterable) and not isinstance(methods, Mapping):
        return Strategy(tuple(one for given in methods for one in as_strategy(given).methods))
    raise TransformerError(
        f"methods must be a method such as tt.LoRA(rank=8), a string such as 'lora:8', or a list; got {methods!r}"
    )


def parse_strategy(text: str) -> Strategy:
    """Read a string such as `full`, `freeze:8`, `lora:8` or, for several methods together, `lora:8+layerwise:0.9`.

    Args:
        text: Names of `methods.METHODS`, each alone or with a colon and a number; several with a plus.

    Raises:
        TransformerError: An unknown name, or a number that is none or out of its range.

    Example:
        >>> parse_strategy("lora").methods[0].rank
        8
    """
    return Strategy(tuple(_parse_method(part.strip(), text) for part in text.split(AND)))


def method_class(name: str) -> type[Method]:
    """The class of a method by its name; its file is loaded for it."""
    file, kind = METHODS[name]
    return getattr(importlib.import_module(f"tftransformer.finetuning.methods.{file}"), kind)


def method_from_config(config: Mapping[str, Any]) -> Method:
    """The inverse of `Method.to_config`."""
    settings = dict(config)
    return method_class(settings.pop("name"))(**settings)


def _parse_method(part: str, text: str) -> Method:
    name, colon, number = part.partition(":")
    if name not in METHODS:
        raise TransformerError(f"strategy must be one of {', '.join(METHODS)}; got {text!r}{near_miss(name, METHODS)}")
    kind = method_class(name)
    if not colon:
        default = None if kind.number is None else kind.number.default
        return kind() if default is None else kind(**{kind.number.field: default})
    if kind.number is None:
        raise TransformerError(f"strategy {name} takes no number; got {text!r}")
    try:
        value = kind.number.kind(number)
        valid = kind.number.holds(value)
    except ValueError:
        valid = False
    if not valid:
        raise TransformerError(f"strategy {name} takes {kind.number.rule}; got {text!r}")
    return kind(**{kind.number.field: value})
