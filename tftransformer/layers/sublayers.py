"""Find the parts of built layers and models by class and address."""

from collections.abc import Iterator
from typing import Any

import keras

from tftransformer.patterns import leaf_layers


def sublayers_of(model: keras.layers.Layer, kind: type[Any] | tuple[type[Any], ...]) -> dict[str, Any]:
    """The built sublayers of one class, such as every `Projection`, by address in the model's order.

    Example:
        >>> from tftransformer.layers.encoder_block import EncoderBlock
        >>> from tftransformer.layers.projection import Projection
        >>> block = EncoderBlock(2, 8, name="encoder_block_0")
        >>> block.build((None, None, 4))
        >>> list(sublayers_of(block, Projection))[:2]
        ['encoder_block_0/attention/query', 'encoder_block_0/attention/key']
    """
    return {
        f"{layer.name}{part.path.removeprefix(layer.path)}": part
        for layer in leaf_layers(model)
        for part in with_sublayers(layer)
        if isinstance(part, kind) and part.built
    }


def with_sublayers(layer: keras.layers.Layer) -> Iterator[keras.layers.Layer]:
    """A layer and all its sublayers, in the order in which they were made."""
    yield layer
    for part in layer._layers:  # Keras's public way to them has no order
        yield from with_sublayers(part)
