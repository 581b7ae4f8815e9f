"""A user's losses and metrics on a network that gives logits: Keras's read probabilities unless told otherwise.

`predict` gives probabilities, so that `loss="sparse_categorical_crossentropy"` looks right, and would train on the wrong
numbers silently. Keras's losses and metrics are therefore given what they read. The user's own get the targets as
`Classification.encode` makes them, ids (B,) or 0 and 1 (B, C), and logits (B, C).
"""

import inspect
from typing import Any

import keras
from keras import ops

from tftransformer.errors import TransformerError, near_miss
from tftransformer.evaluation.keras_metrics import MultiLabelAccuracy, MultiLabelF1, WrappingMetric
from tftransformer.objectives.objective import Objective

_ONE_OF_MANY = {
    "SparseCategoricalCrossentropy", "SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy",
    "CategoricalCrossentropy", "CategoricalFocalCrossentropy", "CategoricalAccuracy", "TopKCategoricalAccuracy",
    "CategoricalGeneralizedCrossEntropy",
}  # fmt: skip
# They read ids and not one-hot targets.
_OF_IDS = {
    "SparseCategoricalCrossentropy", "SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy",
    "CategoricalGeneralizedCrossEntropy",
}  # fmt: skip
_YES_OR_NO = {
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "BinaryAccuracy", "AUC", "Precision", "Recall",
    "PrecisionAtRecall", "RecallAtPrecision", "SensitivityAtSpecificity", "SpecificityAtSensitivity",
    "TruePositives", "TrueNegatives", "FalsePositives", "FalseNegatives",
}  # fmt: skip
# Whatever scale the scores have: only their order, or their distance from a margin, counts.
_ANY_SCALE = {"SparseCategoricalAccuracy", "SparseTopKCategoricalAccuracy", "Hinge", "SquaredHinge", "CategoricalHinge"}
_NOT_FOR_CLASSES = {
    "CTC", "Circle", "Accuracy", "IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU", "PearsonCorrelation",
    "ConcordanceCorrelation", "R2Score",
}  # fmt: skip
_WRAPPERS = {"Loss", "LossFunctionWrapper", "Metric", "Mean", "Sum", "MeanMetricWrapper"}
_NO_OBJECTIVES = {*_WRAPPERS, "get", "serialize", "deserialize"}


def adapt_loss(loss: Any, objective: Objective) -> Any:
    """A loss as `compile` takes it, for targets and logits of an objective.

    Args:
        loss: A name, a function or an object. Keras's cross-entropies are taken over logits: an object is made anew
            with `from_logits=True` and all else that it had. Keras's other losses compare the targets, one-hot where
            they are ids, with probabilities (hinge losses: with logits). A function or an object of the user's
            is left as it is.
        objective: A `Classification`.

    Returns:
        A loss.

    Raises:
        TransformerError: An unknown name, several losses, or a loss for another kind of targets.

    Example:
        >>> adapt_loss("sparse_categorical_crossentropy", classifier.objective).get_config()["from_logits"]
        True
    """
    if isinstance(loss, (list, tuple)) and len(loss) == 1:
        loss = loss[0]
    if isinstance(loss, (list, tuple, dict)):
        raise TransformerError(f"loss must be one loss, for the one output of the network; got {loss!r:.80}")
    name, loss = _name_of(loss), _from_keras("loss", loss, keras.losses, keras.losses.Loss)
    kind = _keras_kind(loss)
    if kind is None:
        return loss
    one_of_many = kind in _ONE_OF_MANY
    if kind in _NOT_FOR_CLASSES or (one_of_many if objective.multi_label else kind in _YES_OR_NO):
        what, use = ("one label", "sparse_categorical_crossentropy")
        if objective.multi_label:
            what, use = ("any number of labels (multi_label=True)", "binary_crossentropy")
        raise TransformerError(f"loss must be for {what} a text, as {use!r} is, or be left out; got {name!r}")
    targets = "given" if objective.multi_label or kind in _OF_IDS else "one_hot"
    config = loss.get_config()
    if "from_logits" in config:
        loss = type(loss).from_config({**config, "from_logits": True})
        return loss if targets == "given" else AdaptedLoss(loss, targets, None)
    return AdaptedLoss(loss, targets, None if kind in _ANY_SCALE else _activation(objective))


def adapt_metrics(argument: str, metrics: Any, objective: Objective) -> list:
    """Metrics as `compile` takes them, for targets and logits of an objective.

    Keras's are given probabilities. Those that ask yes or no, such as `AUC` and `Precision`, are asked of every label
    of a multi-label objective; where a text has one of two labels, they are asked of the second one.

    Args:
        argument: "metrics" or "weighted_metrics".
        metrics: A list of names, functions and objects, or one of them; "crossentropy" and "ce" are the objective's own
            loss. The user's own get logits.
        objective: A `Classification`.

    Raises:
        TransformerError: An unknown name, or a metric for another kind of targets.
    """
    if isinstance(metrics, dict):
        raise TransformerError(f"{argument} must be a list of metrics; got {metrics!r:.80}")
    metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    return [_adapt_metric(argument, metric, objective) for metric in metrics]


def _adapt_metric(argument: str, metric: Any, objective: Objective) -> Any:
    name = _name_of(metric)
    if isinstance(metric, str) and metric.lower() in ("accuracy", "acc"):
        if not objective.multi_label:
            return keras.metrics.SparseCategoricalAccuracy(name=name)
        return MultiLabelAccuracy(threshold=None, from_logits=True, name=name)
    if isinstance(metric, str) and metric in ("crossentropy", "ce"):
        kind = (
            keras.metrics.BinaryCrossentropy if objective.multi_label else keras.metrics.SparseCategoricalCrossentropy
        )
        return kind(from_logits=True, name=name)
    metric = _from_keras(argument, metric, keras.metrics, keras.metrics.Metric)
    if isinstance(metric, (MultiLabelAccuracy, MultiLabelF1)) and not metric.from_logits:
        return AdaptedMetric(metric, "given", "sigmoid")
    kind = _keras_kind(metric)
    if inspect.isfunction(metric) and metric.__module__.startswith("keras."):
        # A loss for which Keras has no metric: its mean.
        kind = _keras_kind(_from_keras(argument, metric, keras.losses, keras.losses.Loss))
        metric = keras.metrics.MeanMetricWrapper(metric, name=name)
    if kind is None:
        return metric
    config = metric.get_config()
    by_column = config.get("class_id") is not None or config.get("multi_label") or config.get("top_k") and kind != "AUC"
    asks_yes_or_no = kind in _YES_OR_NO and not by_column
    if objective.multi_label and kind in _ONE_OF_MANY:
        raise TransformerError(f"{argument} must be for any number of labels a text; {name!r} is for one of many")
    if kind in _NOT_FOR_CLASSES or (asks_yes_or_no and not objective.multi_label and len(objective.labels) != 2):
        raise TransformerError(
            f"{argument} must be for one of {len(objective.labels)} labels a text; {name!r} is not: try 'accuracy', "
            "tftransformer.evaluation.MacroF1, or keras.metrics.Precision(class_id=...)"
        )
    if objective.multi_label:
        targets = "given"
    elif asks_yes_or_no:
        targets = "second"
    else:
        targets = "given" if kind in _OF_IDS else "one_hot"
    read_as_they_are = kind in _ANY_SCALE or config.get("from_logits")
    if targets == "given" and read_as_they_are:
        return metric
    activation = "sigmoid" if targets == "second" else _activation(objective)
    return AdaptedMetric(metric, targets, None if read_as_they_are else activation, name=name)


@keras.saving.register_keras_serializable(package="tftransformer")
class AdaptedLoss(keras.losses.Loss):
    """A loss that is given what it reads.

    Args:
        loss: A Keras loss.
        targets: "given" leaves the targets, "one_hot" makes (B, C) of ids.
        activation: "softmax" or "sigmoid" makes probabilities of the logits; None leaves them.

    Shapes: ids (B,) or 0 and 1 (B, C), logits (B, C) -> loss (B,) before the reduction.
    """

    def __init__(self, loss: Any, targets: str, activation: str | None, name: str | None = None) -> None:
        loss = keras.losses.deserialize(loss) if isinstance(loss, dict) else loss
        super().__init__(name=name or loss.name, reduction=loss.reduction)
        self.loss, self.targets, self.activation = loss, targets, activation

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.loss.call(*_as_read(y_true, y_pred, self.targets, self.activation))

    def get_config(self) -> dict:
        loss = keras.losses.serialize(self.loss)
        return {"loss": loss, "targets": self.targets, "activation": self.activation, "name": self.name}


@keras.saving.register_keras_serializable(package="tftransformer")
class AdaptedMetric(WrappingMetric):
    """A metric that is given what it reads.

    Args:
        metric: A metric.
        targets: As for `AdaptedLoss`; or "second": of two labels, whether it is the second one, and its logit.
        activation: As there.
        name: Shown by `fit`; by default the metric's.
    """

    def __init__(self, metric: Any, targets: str, activation: str | None, name: str | None = None) -> None:
        super().__init__(metric, name)
        self.targets, self.activation = targets, activation

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = _as_read(y_true, y_pred, self.targets, self.activation)
        self.metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def get_config(self) -> dict:
        return {**super().get_config(), "targets": self.targets, "activation": self.activation}


def _as_read(y_true: Any, y_pred: Any, targets: str, activation: str | None) -> tuple[Any, Any]:
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.cast(y_pred, "float32")
    if targets == "one_hot":
        ids = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        y_true = ops.one_hot(ids, y_pred.shape[-1], dtype="float32")
    elif targets == "second":
        y_true, y_pred = ops.reshape(y_true, (-1,)), y_pred[:, 1] - y_pred[:, 0]
    return y_true, y_pred if activation is None else getattr(ops, activation)(y_pred)


def _activation(objective: Objective) -> str:
    return "sigmoid" if objective.multi_label else "softmax"


def _name_of(given: Any) -> str:
    return given if isinstance(given, str) else getattr(given, "name", None) or getattr(given, "__name__", repr(given))


def _from_keras(argument: str, given: Any, module: Any, base: type) -> Any:
    """An object of a name, a class or a function of Keras's; anything else as it is."""
    known = {name: value for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, base)}
    if isinstance(given, str):
        exported = {n: v for n, v in vars(module).items() if callable(v) and n not in _NO_OBJECTIVES}
        try:
            given = module.get(given)
        except ValueError:
            if given not in exported:
                raise TransformerError(
                    f"{argument} must be one of Keras's by name, or a function or an object; got {given!r}"
                    f"{near_miss(given, exported)}"
                ) from None
            given = exported[given]  # `get` does not find all that Keras exports
    if inspect.isfunction(given) and given.__module__.startswith("keras."):
        # A function is its class without options, which Keras calls by the same name.
        short = given.__name__.replace("_", "")
        given = next((value() for name, value in known.items() if name.lower() == short), given)
    return given() if inspect.isclass(given) else given


def _keras_kind(found: Any) -> str | None:
    """The name of the Keras class that it is an object of; None for what is the user's own, or ours.

    A class that the user derives from one of Keras's is the user's own: nobody knows what it reads or holds.
    """
    kind = type(found)
    return kind.__name__ if kind.__module__.startswith("keras.") and kind.__name__ not in _WRAPPERS else None
