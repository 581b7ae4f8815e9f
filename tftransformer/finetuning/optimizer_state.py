"""Go on with other weights: an optimizer like another one, with what that one remembers of the weights they share."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.finetuning.optimizers import inner_optimizer
from tftransformer.finetuning.reduced_gradients import ReducedGradients

# What Keras keeps of `exclude_from_weight_decay`, which is not part of an optimizer's config.
_EXCLUSIONS = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


def carry_optimizer(
    optimizer: Any, variables: Sequence[keras.Variable], later: Iterable[keras.Variable] = ()
) -> Any:
    """An optimizer with the settings and the progress of another one, built for other weights.

    A weight that both know keeps its moments, its accumulated gradient and its own count of updates. One that
    joins starts as in a new optimizer: its first Adam step is corrected as a first one, whatever the others
    have behind them. Of a weight that leaves nothing remains. The schedule goes on.

    Args:
        optimizer: An `AdamW` or `SGD` of this package, or Keras's `LossScaleOptimizer` around one; it is not
            changed.
        variables: The weights to train.
        later: Weights that will join later, which rate or decay patterns may be for.

    Returns:
        A built optimizer. Make it where the model was made, in the scope of its `tf.distribute` strategy.

    Raises:
        TransformerError: Another kind of optimizer.

    Example:
        >>> from tftransformer.finetuning.optimizers import AdamW
        >>> one, two = keras.Variable([1.0], name="kernel"), keras.Variable([1.0], name="bias")
        >>> optimizer = AdamW(0.1)
        >>> _ = optimizer.apply_gradients([(keras.ops.ones(1), one)])
        >>> carried = carry_optimizer(optimizer, [one, two])
        >>> [int(count) for count in carried.iterations - carried.joined_at]
        [1, 0]
    """
    check_can_carry(optimizer)
    old = inner_optimizer(optimizer)
    new = _alike(old)
    general = len(new.variables)
    new.later_paths = tuple(variable.path for variable in later)
    outer = new
    if old is not optimizer:
        outer = keras.optimizers.LossScaleOptimizer(
            new, optimizer.initial_scale, optimizer.dynamic_growth_steps, name=optimizer.name
        )
    outer.build(list(variables))
    if old is not optimizer and optimizer.built:
        outer.step_counter.assign(optimizer.step_counter.value)
        outer.dynamic_scale.assign(optimizer.dynamic_scale.value)
    # Counters, the schedule's place and the rate: whatever was there before any weight.
    for mine, theirs in zip(new.variables[:general], old.variables[:general]):
        mine.assign(theirs.value)
    new._length_known = old._length_known
    _carry_weights(old, new)
    return outer


def check_can_carry(optimizer: Any) -> None:
    """Raise a `TransformerError` unless `carry_optimizer` can take it."""
    inner = inner_optimizer(optimizer)
    if not isinstance(inner, ReducedGradients):
        raise TransformerError(
            "weights that join in the middle of training need tftransformer's AdamW or SGD, which count the updates "
            f"of each; got {type(inner).__name__}"
        )


def _alike(optimizer: ReducedGradients) -> ReducedGradients:
    rate = optimizer._learning_rate
    # The object itself: a schedule of the user's need not know how to be written down.
    rate = float(keras.ops.convert_to_numpy(rate)) if isinstance(rate, keras.Variable) else rate
    alike = type(optimizer).from_config({**optimizer.get_config(), "learning_rate": rate})
    for name in _EXCLUSIONS:
        if hasattr(optimizer, name):
            setattr(alike, name, getattr(optimizer, name))
    return alike


def _carry_weights(old: ReducedGradients, new: ReducedGradients) -> None:
    places = {id(variable): place for place, variable in enumerate(old._trainable_variables)}
    counts = keras.ops.convert_to_numpy(old.joined_at) if old.built else ()
    joined = []
    for place, variable in enumerate(new._trainable_variables):
        before = places.get(id(variable))
        if before is None:
            joined.append(int(keras.ops.convert_to_numpy(old.iterations)))
            continue
        joined.append(int(counts[before]))
        for mine, theirs in zip(new.remembered(place), old.remembered(before)):
            mine.assign(theirs.value)
    new.set_joined_at(joined)
