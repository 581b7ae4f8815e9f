"""Space that a search chooses from: a range, a list, or a fixed value for each setting of a recipe."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.runs.recipes import check_recipe, takes_freeze_layers

# Which trials a search gives up early.
PRUNERS = ("median", "hyperband", "none")
# Searched on a logarithmic scale.
_LOGARITHMIC = ("learning_rate", "weight_decay", "l1", "l2")


@dataclasses.dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; on a logarithmic scale for rates."""

    low: int | float
    high: int | float
    logarithmic: bool = False

    def describe(self) -> dict[str, Any]:
        """JSON values."""
        return {"from": self.low, "to": self.high, "logarithmic": self.logarithmic}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def describe(self) -> dict[str, Any]:
        """JSON values."""
        return {"choose": list(self.values)}


class SearchSpace:
    """Settings that are searched over, and settings that stay.

    Args:
        space: For each setting of a recipe a tuple of two numbers, a range (of whole numbers if both are);
            a list, of which one is chosen; or a single value. `freeze_layers` is chosen only where the strategy
            takes it.

    Example:
        >>> space = SearchSpace({"learning_rate": (1e-5, 1e-3), "strategy": ["full", "lora:8"], "epochs": 3})
        >>> sorted(space.searched), space.fixed
        (['learning_rate', 'strategy'], {'epochs': 3})
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self.searched: dict[str, Range | Choice] = {}
        self.fixed: dict[str, Any] = {}
        # From a recipe to one that lacks nothing; a search knows the model and the rows that this takes.
        self.complete: Callable[[dict[str, Any]], dict[str, Any]] = dict
        # The strategy first: it decides whether freeze_layers is asked for.
        for name in sorted(space, key=lambda name: name != "strategy"):
            read = _read(name, space[name])
            if isinstance(read, (Range, Choice)):
                self.searched[name] = read
            else:
                self.fixed[name] = read
        for recipe in self.corners():
            check_recipe(recipe)
        if not self.searched:
            raise TransformerError(
                "space must have something to search over, a range (low, high) or a list; every setting has one value"
            )

    def corners(self) -> list[dict[str, Any]]:
        """Recipes that between them hold every strategy with every end and choice, to be checked beforehand."""
        ends = {
            name: (kind.low, kind.high) if isinstance(kind, Range) else kind.values
            for name, kind in self.searched.items()
        }
        chosen = ends.pop("strategy", (self.fixed.get("strategy"),))
        if "freeze_layers" in (*ends, *self.fixed) and not any(map(takes_freeze_layers, chosen)):
            raise TransformerError("freeze_layers goes with the strategy 'freeze', which space does not have")
        longest = max((len(values) for values in ends.values()), default=1)
        return [
            self.recipe({
                **({} if strategy is None else {"strategy": strategy}),
                **{name: values[min(i, len(values) - 1)] for name, values in ends.items()},
            })
            for strategy in chosen
            for i in range(longest)
        ]  # fmt: skip

    def recipe(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """A recipe of chosen values and fixed ones."""
        found = {**values, **self.fixed}
        if not takes_freeze_layers(found.get("strategy")):
            found.pop("freeze_layers", None)
        return self.complete(found)

    def suggest(self, trial: Any) -> dict[str, Any]:
        """A recipe as an Optuna trial suggests it."""
        values: dict[str, Any] = {}
        for name, kind in self.searched.items():
            strategy = values.get("strategy", self.fixed.get("strategy"))
            if name != "freeze_layers" or takes_freeze_layers(strategy):
                values[name] = _suggest(trial, name, kind)
        return self.recipe(values)

    def distributions(self) -> dict[str, Any]:
        """Optuna's form of what is searched over."""
        from optuna import distributions as kinds

        found = {}
        for name, kind in self.searched.items():
            if isinstance(kind, Choice):
                found[name] = kinds.CategoricalDistribution(kind.values)
            elif isinstance(kind.low, int):
                found[name] = kinds.IntDistribution(kind.low, kind.high)
            else:
                found[name] = kinds.FloatDistribution(kind.low, kind.high, log=kind.logarithmic)
        return found

    def describe(self) -> dict[str, Any]:
        """JSON values: equal for equal spaces alone."""
        return {**{name: kind.describe() for name, kind in self.searched.items()}, **self.fixed}


def _suggest(trial: Any, name: str, kind: Range | Choice) -> Any:
    if isinstance(kind, Choice):
        return trial.suggest_categorical(name, kind.values)
    if isinstance(kind.low, int):
        return trial.suggest_int(name, kind.low, kind.high)
    return trial.suggest_float(name, kind.low, kind.high, log=kind.logarithmic)


def _read(name: str, value: Any) -> Any:
    if isinstance(value, tuple):
        return _range(name, value)
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return value
    if not value:
        raise TransformerError(f"space[{name!r}] must have something to choose from; got an empty list")
    if wrong := [item for item in value if not (item is None or isinstance(item, (bool, int, float, str)))]:
        raise TransformerError(f"space[{name!r}] must list numbers or strings; got {wrong[0]!r}")
    distinct = tuple(dict.fromkeys(value))
    return distinct[0] if len(distinct) == 1 else Choice(distinct)


def _range(name: str, value: tuple) -> Range:
    numbers = [isinstance(end, (int, float)) and not isinstance(end, bool) for end in value]
    if len(value) != 2 or not all(numbers) or not value[0] < value[1]:
        raise TransformerError(
            f"space[{name!r}] must be (low, high), two numbers that rise, or a list to choose from; got {value!r}"
        )
    low, high = value
    if all(isinstance(end, int) for end in value):
        return Range(low, high)
    return Range(float(low), float(high), name in _LOGARITHMIC and low > 0)
