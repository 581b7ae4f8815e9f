"""What `compile()` means for a task when arguments are left out."""

import inspect
import re
from typing import Any

import keras
import tensorflow as tf

from tftransformer import patterns
from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation.keras_metrics import MacroF1, MultiLabelF1
from tftransformer.finetuning.optimizers import build_optimizer
from tftransformer.finetuning.regularization import regularize
from tftransformer.finetuning.schedules import check_number
from tftransformer.training.losses import SmoothedCrossEntropy

_OPTIMIZER_OPTIONS = (
    "learning_rate", "schedule", "warmup", "weight_decay", "global_clipnorm", "gradient_accumulation_steps",
    "fresh_multiplier",
)  # fmt: skip
_OWN_OPTIONS = ("label_smoothing", "l1", "l2")


def classification_defaults(
    task: Any, optimizer: Any, loss: Any, metrics: Any, options: dict[str, Any]
) -> dict:
    """The arguments of Keras's `compile` for a classifier.

    Args:
        task: The classifier, with `labels`, `multi_label`, `threshold` and `fresh`.
        optimizer, loss, metrics: As given, or None.
        options: Everything else that was given by name.

    Returns:
        Arguments for `keras.Model.compile`.

    Raises:
        TransformerError: An option is unknown or out of range, or is for the optimizer beside one.
    """
    own = {name: options.pop(name) for name in _OWN_OPTIONS if name in options}
    rates = {name: options.pop(name) for name in _OPTIMIZER_OPTIONS if name in options}
    keras_options = [name for name in inspect.signature(keras.Model.compile).parameters if name != "self"]
    for name in options:
        if name not in keras_options:
            known = (*keras_options, *_OPTIMIZER_OPTIONS, *_OWN_OPTIONS)
            raise TransformerError(f"compile has no argument {name!r}{near_miss(name, known)}")
    if optimizer is not None and rates:
        raise TransformerError(
            f"{', '.join(rates)} cannot go with an optimizer: give it to the optimizer itself"
        )
    smoothing = check_number(
        "label_smoothing",
        own.get("label_smoothing", 0.0),
        "at least 0 and below 1",
        lambda value: 0 <= value < 1,
    )
    if loss is not None and smoothing:
        raise TransformerError("label_smoothing cannot go with a loss: give it to the loss itself")
    regularize(task, own.get("l1", 0.0), own.get("l2", 0.0))
    # On a CPU every new batch length would cost seconds of compilation, more than XLA saves.
    accelerators = tf.config.list_physical_devices("GPU") + tf.config.list_physical_devices("TPU")
    compiled = options.pop("jit_compile", bool(accelerators))
    if optimizer is None:
        rates["touched_rows"] = not compiled
        optimizer = build_optimizer(**rates, fresh=_fresh_that_train(task))
    return {
        "optimizer": optimizer,
        "loss": loss if loss is not None else _loss(task, smoothing),
        "metrics": metrics if metrics is not None else _metrics(task),
        "jit_compile": compiled,
        **options,
    }


def restore_compilation(task: Any) -> None:
    """What loading has to do after `compile`: give the optimizer its variables, so that their values fit."""
    if task.optimizer is not None:
        task.optimizer.build(task.trainable_variables)


def _fresh_that_train(task: Any) -> list[str]:
    weights = {name: weight for name, weight in patterns.addresses(task).items() if weight.trainable}
    fresh = re.compile("|".join(task.fresh) or "(?!)")
    return [name for name in weights if fresh.fullmatch(name)]


def _loss(task: Any, smoothing: float) -> keras.losses.Loss:
    if task.multi_label:
        return keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing)
    if smoothing:
        return SmoothedCrossEntropy(smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _metrics(task: Any) -> list[keras.metrics.Metric]:
    count = len(task.labels)
    if not task.multi_label:
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy"), MacroF1(count)]
    return [
        MultiLabelF1(count, average=average, threshold=task.threshold, from_logits=True)
        for average in ("micro", "macro")
    ]
