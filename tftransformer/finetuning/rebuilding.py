"""Rebuild a task on an encoder of another structure, such as one of fewer layers, with the weights of the old one.

Fan et al. 2019 (arXiv 1909.11556) and Sajjad et al. 2020 (arXiv 2004.03844): taken before fine-tuning, the lower
layers of a pretrained model, or every other one, lose little.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from keras import ops

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.models.layer_choice import choose_layers, keep_in_config
from tftransformer.models.task import AnyTask, Task
from tftransformer.patterns import addresses

# What a task knows of where its weights come from.
_NOTES = ("newly_initialized", "recommended_hparams", "load_summary")
_BLOCK = re.compile(r"encoder_block_(\d+)(/.*)?")


def rebuild(
    task: AnyTask,
    config: TransformerConfig,
    blocks: Sequence[int],
    change: Callable[[str, np.ndarray], np.ndarray] = lambda _, value: value,
) -> AnyTask:
    """A new task of the same class with fewer blocks, or smaller ones.

    Frozen weights stay frozen, and LoRA, adapters and prefixes are kept; the new task is not compiled.

    Args:
        task: A built task; it stays as it is.
        config: Config of the new encoder.
        blocks: Number that each block of the new encoder has in the old one.
        change: Function from an old address and its value to the value of the new weight.

    Returns:
        The new task.

    Raises:
        TransformerError: It is no task with an encoder, or has further blocks that would change their size.

    Example:
        >>> rebuild(classifier, classifier.config, range(classifier.config.num_blocks))  # doctest: +SKIP
    """
    check_task(task)
    settings = task.get_config()
    settings["config"] = config.to_dict()
    settings["frozen"] = _moved(settings.get("frozen", ()), blocks)
    moved = [
        {**modification, "targets": _moved(modification["targets"], blocks)}
        if "targets" in modification
        else modification
        for modification in settings.get("modifications", ())
    ]
    # What was only in blocks that went is nowhere.
    settings["modifications"] = [modification for modification in moved if modification.get("targets") != []]
    new = type(task).from_config(settings)
    old = addresses(task)
    for name, variable in addresses(new).items():
        origin = _origin(name, blocks)
        value = change(origin, ops.convert_to_numpy(old[origin]))
        if value.shape != tuple(variable.shape):
            raise TransformerError(
                f"one block of the encoder must keep as many heads as {name.split('/')[0]} has, which is made like the "
                f"widest of them; got {config.heads_of_block(None)[0]} at most"
            )
        variable.assign(value)
    for name in _NOTES:
        value = getattr(task, name)
        setattr(new, name, dict(value) if isinstance(value, Mapping) else value)
    return new


def check_task(task: Task) -> None:
    """Raise a `TransformerError` unless it is a task that can be rebuilt."""
    if not isinstance(task, Task):
        raise TransformerError(
            f"task must be a model with an encoder and its config, such as a TextClassifier; got a {type(task).__name__}"
        )


def _origin(name: str, blocks: Sequence[int]) -> str:
    found = _BLOCK.fullmatch(name)
    return name if found is None else f"encoder_block_{blocks[int(found[1])]}{found[2] or ''}"


def _moved(names: Sequence[str], blocks: Sequence[int]) -> list[str]:
    """The new addresses of old ones: none for a block that went, several for one that was taken twice."""
    moved = []
    for name in names:
        found = _BLOCK.fullmatch(name)
        if found is None:
            moved.append(name)
        else:
            news = [new for new, old in enumerate(blocks) if old == int(found[1])]
            moved += [f"encoder_block_{new}{found[2] or ''}" for new in news]
    return moved


def keep_layers(task: AnyTask, layers: int | str | Sequence[int]) -> AnyTask:
    """A smaller task of some layers of another: their weights, the embeddings, the pooling and the head.

    Args:
        task: A built task, such as a `TextClassifier`; it stays as it is.
        layers: A number n (the first n), "first:6", "last:6", "every:2" (block 0 and every second after it), or the
            numbers of the blocks in their new order. Where all layers share one block (ALBERT), it is applied
            fewer times.

    Returns:
        A new task, not compiled, that saves, exports and trains like any other. Weights frozen in a kept block
        stay frozen.

    Raises:
        TransformerError: An unknown choice, a block that there is not, or layers of which groups share blocks.

    Example:
        >>> small = keep_layers(classifier, "every:2")  # doctest: +SKIP
        >>> small.config.num_layers  # doctest: +SKIP
        6
    """
    check_task(task)
    if layers is None:
        raise TransformerError("layers must say which to keep, as in first:6, every:2 or [0, 2, 4]; got None")
    kept = choose_layers(layers, task.config.num_layers)
    config = keep_in_config(task.config, kept)
    own = task.config.num_blocks == task.config.num_layers
    return rebuild(task, config, kept if own else range(task.config.num_blocks))
