"""Sentence vectors: what a classifier's head sees of each text."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# Fewer batches than these are run before a graph of the encoder would be traced.
_EAGER_BATCHES = 4


class _BelowTheHead(keras.Model):
    """A classifier without its head, as a model of its own.

    So `predict` runs with compiled functions that belong to it alone: those of the classifier stay what they were,
    and none of an earlier call can be out of date.
    """

    def __init__(self, classifier: Any) -> None:
        super().__init__(name="below_the_head", dtype=classifier.dtype_policy)
        self.classifier = classifier
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return ops.cast(self.classifier.pooled(inputs, training), "float32")


def pooled_vectors(classifier: Any, batches: tf.data.Dataset | None) -> np.ndarray:
    """The vectors that a classifier's head sees.

    Args:
        classifier: A `TextClassifier`, with `pooled`.
        batches: Of integers, as its `predict` makes them; None for no texts.

    Returns:
        (B, D) float32, in the order of the batches.
    """
    if batches is None:
        return np.zeros((0, classifier.config.hidden_dim), "float32")
    with classifier.distribute_strategy.scope():
        model = _BelowTheHead(classifier)
        few = 0 <= int(batches.cardinality()) <= _EAGER_BATCHES
        replicas = classifier.distribute_strategy.num_replicas_in_sync
        model.compile(jit_compile=classifier.jit_compile, run_eagerly=few and replicas == 1)
    return model.predict(batches, verbose=0)
