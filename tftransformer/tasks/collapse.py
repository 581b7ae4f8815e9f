"""When `fit` looks whether a classifier has collapsed: where its loss can be compared with that of guessing."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tftransformer.data.examples import Examples
from tftransformer.finetuning.schedule_length import warmup_updates
from tftransformer.tasks.labelled import Labelled
from tftransformer.training.collapse import NoticeCollapse, chance_loss
from tftransformer.training.losses import SmoothedCrossEntropy

_LOSSES = (
    keras.losses.SparseCategoricalCrossentropy,
    keras.losses.BinaryCrossentropy,
    SmoothedCrossEntropy,
)
_PROBED_ROWS = 32


def notice_collapse(
    task: Any, data: Any, batches: int | None, class_weights: tf.Tensor | None = None
) -> list[keras.callbacks.Callback]:
    """The callback that looks, or none: cross-entropy alone, on labels that are all known before training.

    Args:
        task: A compiled task, whose schedule knows its length.
        data: What it trains on; labels of a `tf.data.Dataset` are not known beforehand.
        batches: Batches of the run, None where nobody knows.
        class_weights: Of `example_weights`.
    """
    plain = (
        isinstance(task.loss, _LOSSES) and task.loss.reduction == "sum_over_batch_size" and not task.losses
    )
    taught = getattr(task, "lesson", None) is not None
    if not (isinstance(data, Examples) and isinstance(task, Labelled) and plain) or taught:
        return []
    weights = data.weights
    if class_weights is not None:
        own = np.asarray(class_weights)[data.labels]
        weights = own if weights is None else own * weights
    smoothing = getattr(task.loss, "label_smoothing", 0.0)
    chance = chance_loss(data.labels, len(task.labels), smoothing, weights)
    some = data.take(range(0, len(data), -(-len(data) // _PROBED_ROWS)))

    def probe() -> np.ndarray:
        batch = next(iter(task._ordered(some, len(some))[0]))
        logits = task(batch[0] if isinstance(batch, tuple) else batch, training=False)
        return keras.ops.convert_to_numpy(task.activate(keras.ops.cast(logits, "float32")))

    accumulated = getattr(task.optimizer, "gradient_accumulation_steps", None) or 1
    return [NoticeCollapse(chance, probe, warmup_updates(task.optimizer), batches, accumulated)]
