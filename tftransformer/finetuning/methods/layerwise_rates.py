"""A lower learning rate for each block the further down it lies: discriminative fine-tuning.

Howard & Ruder 2018 (arXiv:1801.06146), 3.1, there with a factor of 1 / 2.6; for BERT-like encoders 0.9 to 0.95 (Sun et
al. 2019, arXiv:1905.05583).
"""

import re
from dataclasses import dataclass
from typing import Any

from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.depth import layers_by_depth
from tftransformer.finetuning.methods.base import Method, Number
from tftransformer.patterns import addresses


@dataclass(frozen=True)
class LayerwiseRates(Method):
    """Learning rates that fall from block to block.

    The top block trains at the learning rate itself, each one below at `decay` times the rate of the one above, and
    the embeddings at the lowest. It stays one optimizer, with one clip of the whole gradient. A task's `compile` reads
    it; for other models `build_optimizer(rate_multipliers=LayerwiseRates(0.9).multipliers(model))` does the same.

    Args:
        decay: Factor from block to block, above 0 and at most 1; 1 makes all rates equal.
        head: Factor of what lies above the blocks. None: it trains at the learning rate itself, or at that of
            another rule, such as `compile`'s for fresh weights.

    Raises:
        TransformerError: A number is out of its range. On `apply`: the model has no blocks.

    Example:
        >>> import keras
        >>> names = ("embeddings", "encoder_block_0", "encoder_block_1", "head")
        >>> model = keras.Sequential([keras.Input((3,)), *(keras.layers.Dense(3, name=name) for name in names)])
        >>> LayerwiseRates(0.5, head=10.0).multipliers(model)
        {'head/.*': 10.0, 'encoder_block_1/.*': 1.0, 'encoder_block_0/.*': 0.5, 'embeddings/.*': 0.25}
    """

    decay: float = 0.9
    head: float | None = None

    name = "layerwise"
    about = "each block trains at N times the rate of the one above"
    hooks = ("optimizer_options",)
    number = Number("decay", float, "a number above 0 and at most 1", lambda value: 0 < value <= 1)
    once = True

    def __post_init__(self) -> None:
        decay = check_number("decay", self.decay, "above 0 and at most 1", lambda value: 0 < value <= 1)
        object.__setattr__(self, "decay", decay)
        if self.head is not None:
            head = check_number("head", self.head, "positive", lambda value: value > 0)
            object.__setattr__(self, "head", head)

    def check(self, model: Model) -> None:
        layers_by_depth(model)

    def multipliers(self, model: Model) -> dict[str, float]:
        """Pattern to factor, for `rate_multipliers` of an optimizer; what is frozen gets none."""
        depths = layers_by_depth(model)
        factors: dict[str, float] = {}
        if self.head is not None:
            factors.update(dict.fromkeys(depths.above, self.head))
        for depth, layers in enumerate((*depths.blocks, depths.below)):
            factors.update(dict.fromkeys(layers, self.decay**depth))
        training = {name.split("/")[0] for name, weight in addresses(model).items() if weight.trainable}
        return {f"{re.escape(layer)}/.*": factor for layer, factor in factors.items() if layer in training}

    def optimizer_options(self, model: Model) -> dict[str, Any]:
        return {"rate_multipliers": self.multipliers(model)}
