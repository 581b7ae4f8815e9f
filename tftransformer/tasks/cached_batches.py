"""When `fit` trains from the stored outputs of frozen layers, and what it says about it."""

from collections.abc import Callable, Sequence
from typing import Any

from tftransformer.data.examples import Examples
from tftransformer.finetuning.prefix_cache import PrefixCache
from tftransformer.finetuning.prefix_states import StoredStates
from tftransformer.finetuning.unfreezing import Stage, frozen_as_in


def stored_states(
    task: Any,
    cache: PrefixCache | None,
    data: Sequence[Any],
    passes: int,
    say: Callable[[str], None],
) -> StoredStates | None:
    """The outputs of a task's frozen layers for the data of a `fit`, if that pays.

    Args:
        task: Has `frozen_prefix`.
        cache: None where the user wants none.
        data: Training data, then validation data: Examples, datasets or None.
        passes: Epochs to come.
        say: Takes the line that says what happens.

    Returns:
        What turns batches of token ids into batches of states; None to train from token ids.
    """
    if cache is None or passes < 1:
        return None
    prefix = task.frozen_prefix()
    reason = ""
    if prefix is None and getattr(task, "lesson", None) is not None:
        reason = "the teacher's outputs are looked up by the texts' tokens"
    elif prefix is None:
        reason = "the embeddings and the first block are not frozen"
    elif not isinstance(data[0], Examples):
        reason = "a tf.data.Dataset may differ in each epoch; pass texts or a Split"
    if reason:
        # Where nobody asked there is nothing to explain.
        if cache.persistent:
            (cache.say or say)(f"prefix cache: off, {reason}")
        return None
    return cache.states(prefix, [part for part in data if isinstance(part, Examples)], passes, say)


def store_for_stages(
    task: Any,
    cache: PrefixCache | None,
    data: Sequence[Any],
    stages: Sequence[Stage],
    say: Callable[[str], None],
) -> None:
    """Store what every stage of gradual unfreezing will train from, in one run through the frozen layers.

    A later stage trains from further down. What lies lowest is run first, and each stage before goes on from there.

    Args:
        task, cache, data, say: As for `stored_states`.
        stages: Of `GradualUnfreezing.stages`.
    """
    if cache is None or not isinstance(data[0], Examples):
        return
    parts = [part for part in data if isinstance(part, Examples)]
    prefixes = []
    for stage in stages:
        with frozen_as_in(task, stage):
            prefixes.append(task.frozen_prefix())
    passes = sum(stage.last - stage.first for stage, prefix in zip(stages, prefixes) if prefix is not None)
    lower = None
    for prefix in reversed(prefixes):
        if prefix is not None and passes > 1:
            if cache.states(prefix, parts, passes, say, lower) is None:
                return
            lower = prefix
