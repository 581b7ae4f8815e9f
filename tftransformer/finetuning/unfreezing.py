"""Training in stages, in each of which other weights train: what gradual unfreezing asks of `fit`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import train_only
from tftransformer.finetuning.optimizer_state import carry_optimizer, check_can_carry
from tftransformer.patterns import addresses, exactly


@dataclass(frozen=True)
class Stage:
    """Some epochs in which the same weights train.

    Attributes:
        first: The first epoch, counted from 0.
        last: The epoch after the last one.
        names: The addresses of what trains.
        about: What joins in this stage, for people.
    """

    first: int
    last: int
    names: tuple[str, ...]
    about: str

    def __str__(self) -> str:
        return f"{self.about} from epoch {self.first + 1}"


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
        model: A compiled model or task.
        stages: Of `GradualUnfreezing.stages`.
        fit_stage: Given the first epoch, the one after the last and callbacks, it calls Keras's `fit` with them.
        callbacks: Callbacks of the whole training.
        verbose: As in Keras's `fit`.
        steps: Batches to an epoch, for the progress bar and for callbacks that ask.
        say: Takes a line about what trains when.

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
        model: A model or task, in which everything may train that will.
        stage: Of `GradualUnfreezing.stages`.

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
    """Callbacks that are told of the begin of the first of several `fit`s, and of no end before `finish`."""

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
    # As in `compile`: not an attribute that TensorFlow saves with the model.
    object.__setattr__(model, "optimizer", optimizer)
    # The optimizer is made for these weights: what freezing takes back from a compiled model may stand.
    model.compiled = True
    model.train_function = None
