"""A recipe: the settings with which a model is fine-tuned once, as searches and cross-validations take them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tftransformer.data.pipeline import num_batches
from tftransformer.data.split import Split
from tftransformer.errors import TransformerError, check_whole, near_miss
from tftransformer.finetuning.arguments import check_number, check_schedule
from tftransformer.finetuning.recipe import BATCH_SIZE, EPOCHS, default_epochs
from tftransformer.finetuning.strategy import Strategy, parse_strategy

# Recipes are checked without Keras; it is loaded when one is followed.
if TYPE_CHECKING:
    import keras

    from tftransformer.finetuning.activation_cache import ActivationCache
    from tftransformer.tasks.task import Task

Build = Callable[[], "Task"]

_STRUCTURE = ("strategy", "freeze_layers")
_COMPILE = (
    "learning_rate", "schedule", "warmup", "weight_decay", "global_clipnorm", "gradient_accumulation_steps",
    "fresh_multiplier", "label_smoothing", "l1", "l2",
)  # fmt: skip
_FIT = ("epochs", "batch_size", "class_weight", "packing")
SETTINGS = (*_STRUCTURE, *_COMPILE, *_FIT)


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe that no model could follow, before anything is trained.

    Args:
        recipe: Any of `strategy` (as `parse_strategy` reads it), `freeze_layers`, the options of a
            classifier's `compile`, and `epochs`, `batch_size`, `class_weight`, `packing` for its `fit`. Without
            `learning_rate` it is the strategy's (`Strategy.learning_rate`), and without `epochs` they are as many as
            `default_epochs` says.

    Example:
        >>> check_recipe({"strategy": "lora:8", "learning_rate": 1e-3, "epochs": 3})
    """
    for name, value in recipe.items():
        if name not in SETTINGS:
            raise TransformerError(
                f"a recipe has no setting {name!r}; it may have {', '.join(SETTINGS)}{near_miss(name, SETTINGS)}"
            )
        if name in ("epochs", "batch_size"):
            check_whole(name, value, least=1)
        elif name == "freeze_layers":
            check_whole(name, value, least=0)
        elif name == "learning_rate":
            check_number(name, value, "above 0 and at most 1", lambda rate: 0 < rate <= 1)
        elif name == "schedule":
            check_schedule(value)
    strategy_of(recipe)


def strategy_of(recipe: Mapping[str, Any]) -> Strategy | None:
    """The strategy of a recipe; `freeze_layers` is the number of a `freeze` without one, and 0 freezes nothing.

    Example:
        >>> str(strategy_of({"strategy": "freeze", "freeze_layers": 6}))
        'freeze:6'
    """
    text = recipe.get("strategy")
    if text is not None and not isinstance(text, str):
        raise TransformerError(f"strategy must be a string such as 'freeze:8'; got {text!r}")
    strategy = None if text is None else parse_strategy(text)
    layers = recipe.get("freeze_layers")
    if layers is None:
        return strategy
    if not takes_freeze_layers(text):
        raise TransformerError(f"freeze_layers goes with the strategy 'freeze'; got {text!r} beside it")
    return parse_strategy(f"freeze:{layers}" if layers else "full")


def takes_freeze_layers(strategy: str | None) -> bool:
    """Return whether `freeze_layers` goes with a strategy: with none, and with a `freeze` without a number."""
    return strategy is None or strategy.strip() == "freeze"


def with_learning_rate(recipe: Mapping[str, Any], hparams: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe, with the rate that its strategy wants where it names none.

    Example:
        >>> with_learning_rate({"strategy": "lora:8"}, {})
        {'learning_rate': 0.001, 'strategy': 'lora:8'}
    """
    strategy = strategy_of(recipe) or parse_strategy("full")
    return {"learning_rate": strategy.learning_rate(hparams), **recipe}


def with_epochs(recipe: Mapping[str, Any], hparams: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """The recipe, with the default number of epochs where it names none.

    Example:
        >>> with_epochs({"batch_size": 16}, {}, rows=200)
        {'epochs': 20, 'batch_size': 16}
    """
    batches = num_batches(rows, recipe.get("batch_size", BATCH_SIZE))
    accumulated = recipe.get("gradient_accumulation_steps") or 1
    return {"epochs": default_epochs(hparams, batches, accumulated), **recipe}


def prepare(build: Build, recipe: Mapping[str, Any]) -> tuple[Task, dict[str, Any]]:
    """A model that is ready to be trained.

    Returns:
        The model, changed by its strategy and compiled; and what its `fit` is to be given.
    """
    from tftransformer.tasks.task import Task

    model = build()
    if not isinstance(model, Task):
        raise TransformerError(f"build must return a task, such as a TextClassifier; got {type(model).__name__}")
    if model.compiled:
        raise TransformerError("build must return a task that is not compiled, which is left to the recipe")
    strategy = strategy_of(recipe)
    if strategy is not None:
        model.apply(strategy)
    recipe = with_learning_rate(recipe, model.recommended_hparams)
    options = {name: recipe[name] for name in _COMPILE if name in recipe}
    fit = {name: recipe[name] for name in _FIT if name in recipe}
    model.compile(**options)
    check_stages(model, fit.get("epochs", EPOCHS))
    return model, fit


def check_minutes(minutes: float, methods: Sequence[Any] = ()) -> None:
    """Refuse minutes that cannot be divided among trials of these methods (`time_limit.train_within`)."""
    check_number("minutes", minutes, "above 0 and finite", lambda value: 0 < value < math.inf)
    for method in methods:
        if not method.takes_updates:
            raise TransformerError(f"minutes cannot go with {method}, which takes no updates")
        if "stages" in method.hooks:
            raise TransformerError(f"minutes cannot go with {method}, which divides a known number of epochs")


def check_stages(model: Task, epochs: int) -> None:
    """Raise a `TransformerError` where a method trains in stages and so many epochs are too few for it."""
    for method in model.methods:
        method.stages(model, epochs)


def train_recipe(
    build: Build,
    recipe: Mapping[str, Any],
    train: Split,
    *,
    validation: Split | None = None,
    seed: int = 0,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    activation_cache: ActivationCache | str = "auto",
) -> tuple[Task, keras.callbacks.History]:
    """Build a model, fine-tune it by a recipe, and return it with Keras's History.

    Example:
        >>> classifier, history = train_recipe(build, {"strategy": "head", "epochs": 3}, train)  # doctest: +SKIP
    """
    import keras

    keras.utils.set_random_seed(seed)
    model, options = prepare(build, recipe)
    options["epochs"] = with_epochs(recipe, model.recommended_hparams, len(train))["epochs"]
    history = model.fit(
        train,
        validation_data=validation,
        callbacks=list(callbacks),
        verbose=0,
        activation_cache=activation_cache,
        **options,
    )
    return model, history


def check_table(
    strategies: Sequence[Strategy] | None,
    train_examples: Sequence[int],
    seeds: int,
    learning_rates: Sequence[float],
    updates: int,
) -> None:
    """Refuse a comparison of strategies that no data could be compared on, before anything is read."""
    if strategies is not None and (not strategies or len(set(strategies)) < len(strategies)):
        raise TransformerError(f"strategies must be different ones; got {', '.join(map(str, strategies)) or 'none'}")
    for name, numbers, least in (
        ("train_examples", train_examples, 2),
        ("seeds", [seeds], 1),
        ("updates", [updates], 1),
    ):
        if not numbers or any(number < least for number in numbers):
            raise TransformerError(f"{name} must be at least {least}; got {', '.join(map(str, numbers)) or 'none'}")
    if any(not 0 < rate <= 1 for rate in learning_rates):
        raise TransformerError(
            f"learning_rates must be above 0 and at most 1; got {', '.join(map(str, learning_rates))}"
        )


def describe_recipe(recipe: Mapping[str, Any]) -> str:
    """A recipe in one line.

    Example:
        >>> describe_recipe({"strategy": "lora:8", "learning_rate": 0.001})
        'strategy lora:8, learning_rate 0.001'
    """
    shown = (f"{n} {v:.3g}" if isinstance(v, float) else f"{n} {v}" for n, v in recipe.items())
    return ", ".join(shown) or "the defaults"
