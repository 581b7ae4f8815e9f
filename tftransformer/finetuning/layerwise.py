"""A lower learning rate for each block the further down it lies: discriminative fine-tuning.

Howard & Ruder 2018 (arXiv:1801.06146), 3.1, there with a factor of 1 / 2.6; for BERT-like encoders 0.9 to 0.95 (Sun et
al. 2019, arXiv:1905.05583).
"""

import re
from typing import Any

from tftransformer.finetuning.depth import layers_by_depth
from tftransformer.finetuning.schedules import check_number
from tftransformer.patterns import addresses


def layerwise_multipliers(model: Any, decay: float = 0.9, head: float | None = None) -> dict[str, float]:
    """Factors on the learning rate that fall from block to block, for `rate_multipliers` of an optimizer.

    The top block trains at the learning rate itself, each one below at `decay` times the rate of the one above, and
    the embeddings at the lowest. It stays one optimizer, with one clip of the whole gradient.

    Args:
        model: A built model or task; what is frozen gets no factor.
        decay: Above 0 and at most 1; 1 makes all rates equal.
        head: The factor of what lies above the blocks. None leaves it out: at the learning rate itself, or at the
            one that something else has for it, as `compile` has for fresh weights.

    Returns:
        Pattern to factor.

    Raises:
        TransformerError: The model has no blocks, or a number is out of its range.

    Example:
        >>> import keras
        >>> names = ("embeddings", "encoder_block_0", "encoder_block_1", "head")
        >>> model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])
        >>> layerwise_multipliers(model, decay=0.5, head=10.0)
        {'head/.*': 10.0, 'encoder_block_1/.*': 1.0, 'encoder_block_0/.*': 0.5, 'embeddings/.*': 0.25}
    """
    decay = check_number("layer_decay", decay, "above 0 and at most 1", lambda value: 0 < value <= 1)
    depths = layers_by_depth(model)
    factors: dict[str, float] = {}
    if head is not None:
        head = check_number("head", head, "positive", lambda value: value > 0)
        factors.update(dict.fromkeys(depths.above, head))
    for depth, layers in enumerate((*depths.blocks, depths.below)):
        factors.update(dict.fromkeys(layers, decay**depth))
    training = {name.split("/")[0] for name, weight in addresses(model).items() if weight.trainable}
    return {f"{re.escape(layer)}/.*": factor for layer, factor in factors.items() if layer in training}
