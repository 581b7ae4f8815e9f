"""Losses that Keras does not have in this form."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="tftransformer")
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits against label ids, with label smoothing (Szegedy et al. 2015, arXiv 1512.00567).

    `keras.losses.SparseCategoricalCrossentropy` takes ids but does not smooth, and
    `CategoricalCrossentropy` smooths but wants one-hot labels.

    Args:
        label_smoothing: The share of a label's weight that is spread over all classes (0 to 1).

    Shapes: ids (B,), logits (B, C) -> loss (B,) before the reduction.

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
        log_probabilities = ops.log_softmax(y_pred, axis=-1)
        ids = ops.expand_dims(ops.cast(ops.reshape(y_true, (-1,)), "int32"), -1)
        hit = ops.squeeze(ops.take_along_axis(log_probabilities, ids, axis=-1), -1)
        spread = ops.mean(log_probabilities, axis=-1)
        return -(1.0 - self.label_smoothing) * hit - self.label_smoothing * spread

    def get_config(self) -> dict:
        return {**super().get_config(), "label_smoothing": self.label_smoothing}
