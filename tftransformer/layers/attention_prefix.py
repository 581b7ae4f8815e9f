"""Trained keys and values in front of those of the text (Li & Liang 2021, arXiv 2101.00190).

Without the network that the paper trains them through: Liu et al. 2021 (arXiv 2110.07602) found classifiers to do as
well without it.
"""

from typing import Any

import keras
from keras import ops

from tftransformer.layers.configured import ConfiguredLayer


@keras.saving.register_keras_serializable(package="tftransformer")
class AttentionPrefix(ConfiguredLayer):
    """P positions that every query sees.

    Args:
        length: P.
        num_heads: K, the number of heads of keys and values.
        head_dim: H.

    Example:
        >>> prefix = AttentionPrefix(4, num_heads=2, head_dim=8)
        >>> k, v = prefix(keras.ops.ones((3, 2, 5, 8)), keras.ops.ones((3, 2, 5, 8)))
        >>> k.shape
        TensorShape([3, 2, 9, 8])
    """

    arguments = ("length", "num_heads", "head_dim")

    def __init__(self, length: int, num_heads: int, head_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.length, self.num_heads, self.head_dim = length, num_heads, head_dim

    def build(self, *_: Any) -> None:
        shape = (self.num_heads, self.length, self.head_dim)
        # As large as the projections of a fresh block make them.
        near = keras.initializers.TruncatedNormal(stddev=0.5)
        self.keys = self.add_weight(name="keys", shape=shape, initializer=near)
        self.values = self.add_weight(name="values", shape=shape, initializer=keras.initializers.get("zeros"))

    def call(self, k: Any, v: Any) -> tuple[Any, Any]:
        """(B, K, S, H) keys and values with P more in front."""
        return self._before(self.keys, k), self._before(self.values, v)

    def _before(self, weight: Any, x: Any) -> Any:
        shape = (ops.shape(x)[0], self.num_heads, self.length, self.head_dim)
        return ops.concatenate([ops.broadcast_to(ops.cast(weight, x.dtype), shape), x], axis=2)

    def widen(self, bias: Any) -> Any:
        """A (..., S) bias on scores with P zeros in front."""
        return ops.pad(bias, [*[(0, 0)] * (len(bias.shape) - 1), (self.length, 0)])

    def settings(self) -> dict[str, int]:
        """Return the arguments that do not follow from its attention layer, as JSON values."""
        return {"length": self.length}
