"""Cross-entropy with label smoothing for label ids, and L1 and L2 penalties."""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

from tftransformer.finetuning.arguments import check_number
from tftransformer.layers.kernels import smoothed_cross_entropy
from tftransformer.patterns import addresses, select


@keras.saving.register_keras_serializable(package="tftransformer")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits against label ids, with label smoothing (Szegedy et al. 2015, arXiv 1512.00567).

    `keras.losses.SparseCategoricalCrossentropy` takes ids but does not smooth, and
    `CategoricalCrossentropy` smooths but wants one-hot labels.

    Args:
        label_smoothing: Fraction of a label's weight that is spread over all classes (0 to 1).

    Shapes: ids (B,), logits (B, C) -> loss (B,) before the reduction; or ids (B, T), logits (B, T, V) -> (B, T).

    Example:
        >>> float(SmoothedCrossEntropy(0.0)([0], [[0.0, 0.0]]))
        0.6931471824645996
    """

    def __init__(
        self,
        label_smoothing: float = 0.0,
        name: str = "loss",
        reduction: str = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.label_smoothing = label_smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        y_pred = ops.convert_to_tensor(y_pred)
        ids = ops.reshape(y_true, ops.shape(y_pred)[:-1])
        return smoothed_cross_entropy(ids, y_pred, self.label_smoothing)

    def get_config(self) -> dict:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


def regularize(model: keras.Model, l1: float = 0.0, l2: float = 0.0, patterns: str | Iterable[str] = ".*kernel") -> int:
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
        check_number(argument, value, "at least 0", lambda value: value >= 0)
    weights = addresses(model)
    chosen = select(weights, patterns)
    for name in chosen:
        weights[name].regularizer = keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None
    return len(chosen) if l1 or l2 else 0
