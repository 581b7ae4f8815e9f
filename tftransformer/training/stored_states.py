"""Outputs of the frozen layers of a task for the data of a `fit`, computed once where that pays."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tftransformer.data.examples import Examples
from tftransformer.finetuning.activation_cache import ActivationCache, StoredStates
from tftransformer.finetuning.unfreezing import Stage, frozen_as_in

if TYPE_CHECKING:
    from tftransformer.models.task import Task


def stored_states(
    task: "Task", cache: ActivationCache | None, data: Sequence[Any], passes: int, say: Callable[[str], None]
) -> StoredStates | None:
    """The outputs of a task's frozen layers for the data of a `fit`, if that pays.

    Args:
        task: Has `frozen_part`.
        cache: The cache; None where the user wants none.
        data: Training data, then validation data: Examples, datasets or None.
        passes: Epochs to come.
        say: Takes the line that says what happens.

    Returns:
        `StoredStates`, which turn batches of token ids into batches of states; None to train from token ids.
    """
    if cache is None or passes < 1:
        return None
    frozen = task.frozen_part()
    reason = ""
    if frozen is None:
        reason = "the embeddings and the first block are not frozen"
    elif not isinstance(data[0], Examples):
        reason = "a tf.data.Dataset may differ in each epoch; pass texts or a Split"
    if reason:
        # Where nobody asked there is nothing to explain.
        if cache.persistent:
            (cache.say or say)(f"activation cache: off, {reason}")
        return None
    return cache.states(frozen, [part for part in data if isinstance(part, Examples)], passes, say)


def store_for_stages(
    task: "Task",
    cache: ActivationCache | None,
    data: Sequence[Any],
    stages: Sequence[Stage],
    say: Callable[[str], None],
) -> None:
    """Store what every stage of gradual unfreezing will train from, in one run through the frozen layers.

    Later stages train from lower layers. The lowest part is run first, and each earlier stage continues from there.

    Args:
        task, cache, data, say: As for `stored_states`.
        stages: Stages of `GradualUnfreezing.stages`.
    """
    if cache is None or not isinstance(data[0], Examples):
        return
    parts = [part for part in data if isinstance(part, Examples)]
    frozen_parts = []
    for stage in stages:
        with frozen_as_in(task, stage):
            frozen_parts.append(task.frozen_part())
    passes = sum(stage.last - stage.first for stage, frozen in zip(stages, frozen_parts) if frozen is not None)
    lower = None
    for frozen in reversed(frozen_parts):
        if frozen is not None and passes > 1:
            if cache.states(frozen, parts, passes, say, lower) is None:
                return
            lower = frozen
