"""The layers of a model by depth: above its blocks, in each of them, and below them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.patterns import leaf_layers

_STACKS = (("embeddings", "encoder_block_"), ("decoder_embeddings", "decoder_block_"))
_BLOCK = re.compile(r"(en|de)coder_block_\d+")


@dataclass(frozen=True)
class Depths:
    """The layers of a model that have weights, by name.

    Attributes:
        above: Layers after the last block, or outside the model that the blocks belong to: a head, a
            pooling layer, blocks called `extra_block_{i}`.
        blocks: Names of each block, from the top to the lowest, and of what lies between it and the next.
        below: Layers before the first block: the embeddings.
    """

    above: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    below: tuple[str, ...]


def stack_names(layers: Iterable[str]) -> tuple[str, str]:
    """Return what the embeddings and the blocks of a stack are called: the encoder's, or of a decoder alone its own.

    Args:
        layers: The names of a model's layers.

    Example:
        >>> stack_names(["decoder_embeddings", "decoder_block_0"])
        ('decoder_embeddings', 'decoder_block_')
    """
    names = list(layers)
    found = (stack for stack in _STACKS if any(name.startswith(stack[1]) for name in names))
    return next(found, _STACKS[0])


def layers_by_depth(model: Model) -> Depths:
    """Sort the layers of a model by how far they are from its output.

    Args:
        model: A built Keras model or a task, whose blocks are called `encoder_block_{i}`, or `decoder_block_{i}` where it has no
            encoder.

    Returns:
        Their names.

    Raises:
        TransformerError: The model has no such blocks.

    Example:
        >>> import keras
        >>> names = ("embeddings", "encoder_block_0", "norm", "encoder_block_1", "head")
        >>> model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])
        >>> layers_by_depth(model).blocks
        (('encoder_block_1',), ('encoder_block_0', 'norm'))
    """
    holder = _holder(model)
    if holder is None:
        raise TransformerError("model must have blocks called encoder_block_0 and so on; got one without")
    _, start = stack_names(layer.name for layer in holder.layers)
    below: list[str] = []
    blocks: list[list[str]] = []
    for child in holder.layers:
        if child.name.startswith(start):
            blocks.append([])
        (blocks[-1] if blocks else below).extend(leaf.name for leaf in leaf_layers(child) if leaf.weights)
    top = blocks[-1]
    above = top[1:]
    del top[1:]
    inside = {*below, *(name for block in blocks for name in block), *above}
    outside = [leaf.name for leaf in leaf_layers(model) if leaf.weights and leaf.name not in inside]
    return Depths((*above, *outside), tuple(map(tuple, reversed(blocks))), tuple(below))


def _holder(model: Model) -> Any:
    """The model among those nested in a model whose own layers the blocks are."""
    layers = getattr(model, "layers", ())
    if any(_BLOCK.fullmatch(layer.name) for layer in layers):
        return model
    return next((found for layer in layers if (found := _holder(layer)) is not None), None)
