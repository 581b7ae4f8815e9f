"""Importance of attention heads: gradient of the loss with respect to a mask (Michel et al. 2019, arXiv 1905.10650).

With a factor of 1 on the output of each head, the derivative of the loss with respect to it says, to first order, how
much removing the head would change the loss.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.rebuilding import check_task
from tftransformer.finetuning.recipe import BATCH_SIZE
from tftransformer.layers.taps import tapped
from tftransformer.models.task import Task


def head_importance(
    task: Task, x: Any, y: Any = None, *, batch_size: int = BATCH_SIZE, normalize: bool = True
) -> dict[int, np.ndarray]:
    """The expected absolute derivative of a classifier's loss for a factor on each head.

    Args:
        task: A `TextClassifier` that was fine-tuned: the scores are about its labels.
        x: A `Split`, or texts or pairs in any form that `fit` takes; some hundreds are enough.
        y: Labels, where `x` comes without.
        batch_size: Number of rows in a batch; the scores do not depend on it.
        normalize: Whether to divide the scores of each block by their l2 norm, as the paper does to compare heads of
            unlike blocks.

    Returns:
        The scores, (N,) for each block by its number. The smaller, the sooner to prune.

    Raises:
        TransformerError: There are no texts or no labels, `batch_size` is no positive integer, or the task has several
            heads (`MultiTaskClassifier`).

    Example:
        >>> scores = head_importance(classifier, train)  # doctest: +SKIP
        >>> scores[0].argmin()  # the head of the first block that matters least  # doctest: +SKIP
        3
    """
    check_task(task)
    if not task.objective.labels:
        raise TransformerError(f"task must have one head, as a TextClassifier; got a {type(task).__name__}")
    check_whole("batch_size", batch_size)
    examples = task.preprocess(x, y)
    if not len(examples) or examples.targets is None:
        found = "texts without" if len(examples) else "no texts"
        raise TransformerError(f"head_importance needs texts with labels; got {found}")
    attentions = [task.encoder.get_layer(f"encoder_block_{i}").attention for i in range(task.config.num_blocks)]
    step = tf.function(_sums_of(task, attentions), reduce_retracing=True, autograph=False)
    sums = [np.zeros(attention.num_heads) for attention in attentions]
    # Chunks of one document are rows of the encoder's, so that only one by one it is known whose a row is.
    for inputs, labels, *_ in task.ordered_batches(examples, 1 if task.in_chunks else batch_size)[0]:
        for total, new in zip(sums, step(inputs, labels), strict=True):
            total += new.numpy()
    scores = [total / len(examples) for total in sums]
    if normalize:
        # A block that nothing depends on has no scores to compare; they stay zero.
        scores = [score / max(float(np.linalg.norm(score)), 1e-30) for score in scores]
    return dict(enumerate(scores))


def _sums_of(task: Task, attentions: Sequence[Any]) -> Callable[[Any, Any], list[tf.Tensor]]:
    """From a batch to the sum over its texts of |dL/dfactor|, (N,) for each block."""

    def sums(inputs: Any, labels: tf.Tensor) -> list[tf.Tensor]:
        rows = tf.shape(labels)[0]
        # A factor for each text: the loss of one does not depend on another's, so one pass back gives all.
        factors = [tf.ones([rows, attention.num_heads]) for attention in attentions]
        with tf.GradientTape() as tape:
            tape.watch(factors)
            with tapped(change={r"encoder_block_\d+/attention/heads": _weigh_heads(task, factors)}):
                logits = tf.cast(task(inputs, training=False), tf.float32)
            loss = tf.reduce_sum(_losses(labels, logits, task.objective.multi_label))
        return [tf.reduce_sum(tf.abs(gradient), axis=0) for gradient in tape.gradient(loss, factors)]

    return sums


def _losses(labels: tf.Tensor, logits: tf.Tensor, multi_label: bool) -> tf.Tensor:
    if multi_label:
        return tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.cast(labels, tf.float32), logits=logits)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _weigh_heads(task: Task, factors: Sequence[tf.Tensor]) -> Callable[[str, tf.Tensor], tf.Tensor]:
    """Return a function that multiplies a layer's heads, (B, N, T, H), by the factors of its block, (B, N)."""

    def weigh(name: str, heads: tf.Tensor) -> tf.Tensor:
        layer = int(name.split("/")[0].rsplit("_", 1)[1])
        factor = factors[task.config.block_of_layer(layer)]
        return heads * tf.cast(factor, heads.dtype)[:, :, tf.newaxis, tf.newaxis]

    return weigh
