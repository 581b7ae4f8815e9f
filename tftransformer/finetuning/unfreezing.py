"""Train in stages with other trainable weights in each, and carry the optimizer from one to the next."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import train_only
from tftransformer.finetuning.methods.base import Stage
from tftransformer.finetuning.optimizers import inner_optimizer, set_optimizer
from tftransformer.finetuning.reduced_gradients import ReducedGradients
from tftransformer.patterns import addresses, exactly


def run_stages(
    model: keras.Model,
    stages: Sequence[Stage],
    fit_stage: Callable[[int, int, keras.callbacks.CallbackList], Any],
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Any = 0,
    steps: int | None = None,
    say: Callable[[str], None] | None = None,
) -> keras.callbacks.History:
    """Train stage by stage; to the callbacks it is one training.

    Before each stage the weights are frozen and unfrozen, and the optimizer is replaced by one for those that
    train, which goes on where the last one stopped (`carry_optimizer`). Afterwards, also after an error, everything
    that trained before may train again.

    Args:
        model: Compiled model or task.
        stages: Stages of `GradualUnfreezing.stages`.
        fit_stage: Function that calls Keras's `fit` with the first epoch, the one after the last and callbacks.
        callbacks: Callbacks of the whole training.
        verbose: Verbosity as in Keras's `fit`.
        steps: Number of batches in an epoch, for the progress bar and for callbacks that ask.
        say: Function that is given a line about what trains when.

    Returns:
        Keras's History of all stages.

    Raises:
        TransformerError: The optimizer cannot be carried on, or a callback cannot go with stages.

    Example:
        >>> run_stages(  # doctest: +SKIP
        ...     model, GradualUnfreezing().stages(model, epochs=4),
        ...     lambda first, last, told: model.fit(x, y, initial_epoch=first, epochs=last, callbacks=told))
    """
    check_can_carry(model.optimizer)
    if any(isinstance(callback, keras.callbacks.BackupAndRestore) for callback in callbacks):
        raise TransformerError(
            "BackupAndRestore does not go with unfreezing: the weights that it restores differ from stage to stage"
        )
    everything = {name: weight for name, weight in addresses(model).items() if weight.trainable}
    if say is not None:
        waiting = set(everything) - set(stages[-1].names)
        left = dict.fromkeys(name.split("/")[0] for name in everything if name in waiting)
        never = f"; too few epochs for {', '.join(left)}" if left else ""
        say(f"unfreezing: {'; '.join(map(str, stages))}{never}")
    together = OneTraining(
        list(callbacks),
        add_history=True,
        add_progbar=verbose != 0,
        model=model,
        verbose=verbose,
        epochs=stages[-1].last,
        steps=steps,
    )
    try:
        for stage in stages:
            _train(model, stage.names, everything)
            fit_stage(stage.first, stage.last, together)
            if model.stop_training:
                break
        together.finish()
    finally:
        _train(model, tuple(everything), everything)
    return model.history


@contextlib.contextmanager
def frozen_as_in(model: keras.Model, stage: Stage) -> Iterator[None]:
    """Freeze a model as it will be in a stage, to look at what lies below.

    Args:
        model: Model or task, in which everything may train that will.
        stage: Stage of `GradualUnfreezing.stages`.

    Example:
        >>> with frozen_as_in(classifier, stage):  # doctest: +SKIP
        ...     print(classifier.frozen_part())
        embeddings and blocks 0-4
    """
    compiled = model.compiled
    everything = [name for name, weight in addresses(model).items() if weight.trainable]
    try:
        train_only(model, exactly(stage.names))
        yield
    finally:
        train_only(model, exactly(everything))
        model.compiled = compiled


class OneTraining(keras.callbacks.CallbackList):
    """A list of callbacks for several `fit`s: one `on_train_begin`, and `on_train_end` only in `finish`."""

    _begun = False
    _logs = None

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._begun:
            self._begun = True
            super().on_train_begin(logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._logs = logs

    def finish(self) -> None:
        """The end of the training."""
        super().on_train_end(self._logs)


def _train(model: keras.Model, names: Sequence[str], everything: dict[str, keras.Variable]) -> None:
    train_only(model, exactly(names))
    with model.distribute_strategy.scope():
        optimizer = carry_optimizer(model.optimizer, model.trainable_variables, everything.values())
    set_optimizer(model, optimizer)
    # The optimizer is made for these weights: what freezing takes back from a compiled model may stand.
    model.compiled = True
    model.train_function = None


# What Keras keeps of `exclude_from_weight_decay`, which is not part of an optimizer's config.
_EXCLUSIONS = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")


def carry_optimizer(optimizer: Any, variables: Sequence[keras.Variable], later: Iterable[keras.Variable] = ()) -> Any:
    """An optimizer with the settings and the progress of another one, built for other weights.

    A weight that both know keeps its moments, its accumulated gradient and its own count of updates. One that
    joins starts as in a new optimizer: its first Adam step is corrected as a first one, whatever the others
    have behind them. Of a weight that leaves nothing remains. The schedule goes on.

    Args:
        optimizer: An `AdamW` or `SGD` of this package, or Keras's `LossScaleOptimizer` around one; it is not
            changed.
        variables: Weights to train.
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
        >>> [int(count) for count in carried.iterations - carried.unfreeze_steps]
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
    counts = keras.ops.convert_to_numpy(old.unfreeze_steps) if old.built else ()
    joined = []
    for place, variable in enumerate(new._trainable_variables):
        before = places.get(id(variable))
        if before is None:
            joined.append(int(keras.ops.convert_to_numpy(old.iterations)))
            continue
        joined.append(int(counts[before]))
        for mine, theirs in zip(new.remembered(place), old.remembered(before)):
            mine.assign(theirs.value)
    new.set_unfreeze_steps(joined)
