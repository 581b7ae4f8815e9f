"""Freeze the lower layers of a pretrained model: the embeddings, the first N blocks, or what patterns name.

Why it works: Lee et al. 2019, "What would Elsa do?" (arXiv:1911.03090).
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.depth import stack_names
from tftransformer.finetuning.tracing import model_changed
from tftransformer.patterns import address, addresses, leaf_layers, select

# Addresses that a summary prints; LoRA and BitFit leave hundreds of weights frozen one by one.
_SHOWN = 6


@dataclass(frozen=True)
class FreezeSummary:
    """Summary of what is frozen in a model, and how much still trains; `str()` gives readable text.

    Attributes:
        frozen_layers: Names of the layers that are frozen as a whole, in the model's order.
        frozen_weights: Addresses of weights that are frozen one by one in layers that train.
        trainable_parameters: The number of parameters that still train.
        total_parameters: The number of all parameters.
        needs_compile: Whether the model was compiled for other weights, and has to be compiled again.
    """

    frozen_layers: tuple[str, ...]
    frozen_weights: tuple[str, ...]
    trainable_parameters: int
    total_parameters: int
    needs_compile: bool = False

    def __str__(self) -> str:
        percent = 100.0 * self.trainable_parameters / max(self.total_parameters, 1)
        lines = [f"frozen: {', '.join(_ranges(self.frozen_layers)) or 'no whole layer'}"]
        if self.frozen_weights:
            shown = ", ".join(self.frozen_weights[:_SHOWN])
            more = len(self.frozen_weights) - _SHOWN
            lines.append(f"frozen weights in layers that train: {shown}{f' and {more} more' if more > 0 else ''}")
        lines.append(
            f"training: {self.trainable_parameters:,} of {self.total_parameters:,} parameters ({percent:.1f} %)"
        )
        if self.needs_compile:
            lines.append("the model was compiled for other weights: call compile() again before fit()")
        return "\n".join(lines)


def freeze(
    model: Model, layers: int | None = None, patterns: str | Iterable[str] | None = None, embeddings: bool = True
) -> FreezeSummary:
    """Stop weights from training. Weights frozen before stay frozen.

    A model that is compiled has to be compiled again if its optimizer already holds slots; until then `fit`
    refuses to run, instead of training what is meant to be frozen.

    Args:
        model: A built Keras model or a task, functional or not.
        layers, patterns, embeddings: As for `methods.Freeze`, which says what being frozen means.

    Returns:
        A summary of everything that is now frozen in the model.

    Raises:
        TransformerError: Neither `layers` nor `patterns` is given; `layers` is no whole number from 0 to the
            number of blocks; a pattern is malformed or matches nothing; the model has no weights yet.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="embeddings"),
        ...                           keras.layers.Dense(1, name="head")])
        >>> print(freeze(model, layers=0))
        frozen: embeddings
        training: 3 of 11 parameters (27.3 %)
    """
    chosen = chosen_to_freeze(model, layers, patterns, embeddings)
    return _apply(model, _weights(model), set(chosen), trainable=False)


def chosen_to_freeze(
    model: Model, layers: int | None, patterns: str | Iterable[str] | None, embeddings: bool = True
) -> list[str]:
    """The addresses that `freeze` would stop from training, in the model's order; arguments and errors are its."""
    if layers is None and patterns is None:
        raise TransformerError("freeze needs layers, the number of blocks to freeze, or patterns; got none")
    weights = _weights(model)
    chosen: set[str] = set()
    if layers is not None:
        chosen |= _lower_layers(model, weights, layers, embeddings)
    if patterns is not None:
        chosen |= _selected(weights, patterns)
    return [name for name in weights if name in chosen]


def unfreeze(model: Model, patterns: str | Iterable[str] | None = None) -> FreezeSummary:
    """Let frozen weights train again: all of them, or those that patterns name.

    Args:
        model: The model.
        patterns: Patterns as for `freeze`; None for everything.

    Returns:
        A summary of what is still frozen.

    Raises:
        TransformerError: A pattern is malformed or matches nothing.
    """
    weights = _weights(model)
    chosen = set(weights) if patterns is None else _selected(weights, patterns)
    return _apply(model, weights, chosen, trainable=True)


def train_only(model: Model, patterns: str | Iterable[str]) -> FreezeSummary:
    """Freeze everything but what patterns name.

    Args:
        model: The model.
        patterns: Patterns as for `freeze`.

    Returns:
        A summary of what is frozen.

    Raises:
        TransformerError: A pattern is malformed or matches nothing; nothing was changed.

    Example:
        >>> import keras
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="body"),
        ...                           keras.layers.Dense(1, name="head")])
        >>> print(train_only(model, ".*/bias"))
        frozen: no whole layer
        frozen weights in layers that train: body/kernel, head/kernel
        training: 3 of 11 parameters (27.3 %)
    """
    weights = _weights(model)
    chosen = _selected(weights, patterns)
    return _apply(model, weights, chosen, trainable=True, only=True)


def frozen_addresses(model: Model) -> tuple[str, ...]:
    """The addresses of all frozen weights: what has to be stored to freeze a reloaded model alike.

    Args:
        model: The model.

    Returns:
        Addresses in the model's order. `freeze(other, patterns=map(re.escape, addresses))` repeats them.
    """
    return tuple(name for name, variable in _weights(model).items() if not variable.trainable)


def check_patterns(model: Model, patterns: str | Iterable[str]) -> None:
    """Raise a `TransformerError` where `freeze` would, for a malformed pattern or one that matches nothing."""
    _selected(_weights(model), patterns)


def _weights(model: Model) -> dict[str, Any]:
    weights = addresses(model)
    if not weights:
        raise TransformerError("model must be built, with weights to freeze; got one without any")
    return weights


def _own_weights(layer: Any) -> list[Any]:
    return [variable for variable in layer.weights if "seed_generator" not in variable.path]


def _lower_layers(model: Model, weights: dict[str, Any], layers: Any, embeddings: bool) -> set[str]:
    names = [layer.name for layer in leaf_layers(model)]
    own, start = stack_names(names)
    blocks = sorted(int(found[1]) for name in set(names) if (found := re.fullmatch(rf"{start}(\d+)", name)))
    if isinstance(layers, bool) or not isinstance(layers, int):
        raise TransformerError(f"layers must be a whole number of blocks; got {layers!r}")
    if not 0 <= layers <= len(blocks):
        raise TransformerError(f"layers must be between 0 and {len(blocks)}, the number of blocks; got {layers}")
    chosen = {f"{start}{index}" for index in blocks[:layers]}
    if embeddings:
        if own not in names:
            raise TransformerError(
                f"layers freezes the layer {own!r} too, which the model lacks; pass embeddings=False"
            )
        chosen.add(own)
    return {name for name in weights if name.split("/")[0] in chosen}


def _selected(weights: dict[str, Any], patterns: str | Iterable[str]) -> set[str]:
    parents = {}
    for name in weights:
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            parents.setdefault("/".join(parts[:end]), []).append(name)
    return {name for selected in select(parents, patterns) for name in parents[selected]}


def _apply(
    model: Model, weights: dict[str, Any], chosen: set[str], trainable: bool, only: bool = False
) -> FreezeSummary:
    """Set what is chosen; with `only`, freeze all others."""
    before = {name for name, variable in weights.items() if variable.trainable}
    after = chosen if only else before | chosen if trainable else before - chosen
    for layer in leaf_layers(model):
        names = [address(variable, layer) for variable in _own_weights(layer)]
        if not names:
            continue
        frozen = after.isdisjoint(names)
        # The layer's own switch is what its dropout looks at. It reaches every weight below, so the
        # weights that are to differ from it are set afterwards. Keras ignores an assignment that changes
        # nothing, and a reloaded layer may be frozen while its parts are not: hence both ways.
        layer.trainable = frozen
        layer.trainable = not frozen
        for name in names:
            weights[name].trainable = name in after
    return summary(model)


def summary(model: Model) -> FreezeSummary:
    """Return what is frozen in a model now, and make Keras trace the model anew."""
    weights, whole = _weights(model), []
    for layer in leaf_layers(model):
        own = _own_weights(layer)
        if own and not any(variable.trainable for variable in own):
            whole.append(layer.name)
    frozen = [name for name, variable in weights.items() if not variable.trainable]
    sizes = {name: math.prod(variable.shape) for name, variable in weights.items()}
    single = [name for name in frozen if name.split("/")[0] not in whole]
    return FreezeSummary(
        frozen_layers=tuple(whole),
        frozen_weights=tuple(single),
        trainable_parameters=sum(sizes[name] for name in weights if weights[name].trainable),
        total_parameters=sum(sizes.values()),
        needs_compile=model_changed(model),
    )


def _ranges(names: tuple[str, ...]) -> list[str]:
    runs: list[list[str]] = []
    for name in names:
        stem, _, number = name.rpartition("_")
        last_stem, _, last_number = runs[-1][-1].rpartition("_") if runs else ("", "", "")
        counted = number.isdigit() and last_number.isdigit() and stem == last_stem
        if counted and int(number) == int(last_number) + 1:
            runs[-1].append(name)
        else:
            runs.append([name])
    return [run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
