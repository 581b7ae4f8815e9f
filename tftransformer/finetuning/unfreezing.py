"""Gradual unfreezing: the head trains first, then one block more at a time, from the top (ULMFiT).

Howard & Ruder 2018, "Universal Language Model Fine-tuning for Text Classification" (arXiv:1801.06146), 3.3.
"""

import contextlib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.depth import layers_by_depth
from tftransformer.finetuning.freezing import train_only
from tftransformer.finetuning.optimizer_state import carry_optimizer, check_can_carry
from tftransformer.finetuning.parts import check_count
from tftransformer.patterns import addresses

STARTS = ("head", "block")


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


@dataclass(frozen=True)
class GradualUnfreezing:
    """Which weights train from which epoch on: `classifier.fit(..., unfreezing=GradualUnfreezing())`.

    Left alone, it fits the stages into the epochs of `fit`, so that every run ends with all weights training. As long
    as there are epochs enough, a stage is one epoch (Howard & Ruder) and the rest of the run trains everything.
    With fewer epochs than stages more blocks join at a time, the same number in each stage but the last: of 12
    blocks in 4 epochs none, 4, 8 and 12 train; in 2 epochs none, then all.

    What is frozen already stays frozen. Weights that wait hold no optimizer slots and do not change by a bit;
    where they lie at the bottom, `fit` may train from their stored outputs. When training is over everything that
    trained before may train again, with an optimizer that goes on from the last stage's.

    Args:
        blocks_per_stage: How many blocks join at a time, at least. The embeddings join with the lowest one.
        epochs_per_stage: After how many epochs the next ones join, whatever the length of the run: blocks that it
            does not reach do not train, which `fit` says. None: as above.
        start: "head": the first stage trains what lies above the blocks. "block": and the first blocks with it.

    Raises:
        TransformerError: A number below 1, or an unknown start.

    Example:
        >>> GradualUnfreezing(blocks_per_stage=2)
        GradualUnfreezing(blocks_per_stage=2, epochs_per_stage=None, start='head')
    """

    blocks_per_stage: int = 1
    epochs_per_stage: int | None = None
    start: str = "head"

    def __post_init__(self) -> None:
        check_count("blocks_per_stage", self.blocks_per_stage)
        if self.epochs_per_stage is not None:
            check_count("epochs_per_stage", self.epochs_per_stage)
        if self.start not in STARTS:
            raise TransformerError(
                f"start must be one of {', '.join(STARTS)}; got {self.start!r}{near_miss(str(self.start), STARTS)}"
            )

    def stages(self, model: Any, epochs: int, initial_epoch: int = 0) -> list[Stage]:
        """The stages of a run, of which one that is continued in the middle sees the rest.

        Args:
            model: A built model or task.
            epochs: The number of the last epoch, as `fit` takes it.
            initial_epoch: The epoch to start with, as `fit` takes it.

        Returns:
            At least one stage; together they are the epochs of the run.

        Raises:
            TransformerError: The model has no blocks, or none that trains; nothing above them trains; or all epochs
                are over before anything is unfrozen.
        """
        if epochs <= initial_epoch:
            raise TransformerError(f"epochs must be above initial_epoch, {initial_epoch}; got {epochs}")
        length = self.epochs_per_stage or 1
        # Those that are left for blocks.
        head_epochs = length if self.start == "head" else 0
        if epochs <= head_epochs:
            raise TransformerError(
                f"unfreezing unfreezes nothing in epochs={epochs}: the first stage, without blocks, takes "
                f"{head_epochs}; give more epochs, or start='block'"
            )
        joining = self._joining(model, epochs - head_epochs)
        stages, names = [], []
        for number, (about, more) in enumerate(joining):
            names += more
            first = max(initial_epoch, number * length)
            last = epochs if number == len(joining) - 1 else min(epochs, (number + 1) * length)
            if first < last:
                stages.append(Stage(first, last, tuple(names), about))
        return stages

    def _joining(self, model: Any, epochs: int) -> list[tuple[str, list[str]]]:
        """What joins with each stage: in words, and the addresses."""
        above, blocks = _parts_that_train(model)
        if not above and self.start == "head":
            raise TransformerError("unfreezing starts above the blocks, where nothing trains: all is frozen")
        size = self.blocks_per_stage
        if self.epochs_per_stage is None:
            size = max(size, math.ceil(len(blocks) / epochs))
        groups = [blocks[start : start + size] for start in range(0, len(blocks), size)]
        joining = [
            (
                " to ".join(dict.fromkeys((group[0][0], group[-1][0]))),
                [name for _, part in group for name in part],
            )
            for group in groups
        ]
        if self.start == "head":
            return [("what lies above the blocks", above), *joining]
        about, names = joining[0]
        return [(f"what lies above the blocks and {about}", above + names), *joining[1:]]


def _parts_that_train(model: Any) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The addresses of what trains above the blocks, and of each block that does, from the top."""
    training = [name for name, weight in addresses(model).items() if weight.trainable]
    depths = layers_by_depth(model)

    def among(layers: Sequence[str]) -> list[str]:
        return [name for name in training if name.split("/")[0] in layers]

    above, blocks = among(depths.above), []
    for block, *beside in depths.blocks:
        if among((block,)):
            blocks.append((block, []))
        # What trains beside a frozen block joins with what comes before it.
        (blocks[-1][1] if blocks else above).extend(among((block, *beside)))
    if not blocks:
        raise TransformerError("unfreezing has nothing to unfreeze: all blocks are frozen for good")
    if below := among(depths.below):
        about, names = blocks[-1]
        blocks[-1] = (f"{about} with what lies below", names + below)
    return above, blocks


def stages_of(unfreezing: Any, model: Any, epochs: int, initial_epoch: int = 0) -> list[Stage]:
    """The stages that `fit(unfreezing=...)` means; none for None.

    Raises:
        TransformerError: It is something else than a `GradualUnfreezing`, or does not fit the model or the epochs.
    """
    if unfreezing is None:
        return []
    if not isinstance(unfreezing, GradualUnfreezing):
        raise TransformerError(
            f"unfreezing must be a GradualUnfreezing, such as tt.GradualUnfreezing(); got {unfreezing!r}"
        )
    return unfreezing.stages(model, epochs, initial_epoch)


def run_stages(
    model: Any,
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
def frozen_as_in(model: Any, stage: Stage) -> Iterator[None]:
    """Freeze a model as it will be in a stage, to look at what lies below.

    Args:
        model: A model or task, in which everything may train that will.
        stage: Of `GradualUnfreezing.stages`.

    Example:
        >>> with frozen_as_in(classifier, stage):  # doctest: +SKIP
        ...     print(classifier.frozen_prefix())
        embeddings and blocks 0-4
    """
    compiled = getattr(model, "compiled", False)
    everything = [name for name, weight in addresses(model).items() if weight.trainable]
    try:
        train_only(model, _exactly(stage.names))
        yield
    finally:
        train_only(model, _exactly(everything))
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


def _train(model: Any, names: Sequence[str], everything: dict[str, keras.Variable]) -> None:
    train_only(model, _exactly(names))
    with model.distribute_strategy.scope():
        optimizer = carry_optimizer(model.optimizer, model.trainable_variables, everything.values())
    # As in `compile`: not an attribute that TensorFlow saves with the model.
    object.__setattr__(model, "optimizer", optimizer)
    # The optimizer is made for these weights: what freezing takes back from a compiled model may stand.
    model.compiled = True
    model.train_function = None


def _exactly(names: Sequence[str]) -> str:
    return "|".join(map(re.escape, names))
