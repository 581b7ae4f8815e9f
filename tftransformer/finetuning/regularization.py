"""L1 and L2 penalties on the kernels of a model, as losses that Keras adds to its own."""

import math
from collections.abc import Iterable

import keras

from tftransformer.errors import TransformerError
from tftransformer.patterns import addresses, select


def regularize(
    model: keras.Model, l1: float = 0.0, l2: float = 0.0, patterns: str | Iterable[str] = ".*kernel"
) -> int:
    """Add `l1 * sum|w| + l2 * sum w²` over the model's kernels to its training and validation loss.

    Only weights that train count: a frozen kernel adds nothing. Calling it again replaces the penalties, and
    with both at 0 removes them. They are not part of a saved model. `weight_decay` in `AdamW` is usually
    the better choice: Adam divides the gradient of a penalty by its own size (arXiv:1711.05101).

    Args:
        model: A built model. It must be compiled afterwards, or not have been trained yet.
        l1: Weight of the absolute values.
        l2: Weight of the squares.
        patterns: Addresses of the penalised weights, matched from end to end; all kernels by default.

    Returns:
        The number of weights that carry the penalty.

    Raises:
        TransformerError: A penalty is negative or no number; a pattern matches nothing.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> regularize(model, l2=0.01)
        1
    """
    for argument, value in (("l1", l1), ("l2", l2)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise TransformerError(f"{argument} must be a number of at least 0; got {value!r}")
    weights = addresses(model)
    chosen = select(weights, patterns)
    for name in chosen:
        weights[name].regularizer = keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None
    return len(chosen) if l1 or l2 else 0
