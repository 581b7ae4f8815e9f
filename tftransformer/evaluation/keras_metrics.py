"""F1 as Keras metrics for `compile(metrics=[...])`: on integer labels, and on several labels per text.

`keras.metrics.F1Score` wants one-hot targets and knows no macro mean over the classes that occur.
"""

from typing import Any

import keras
from keras import ops

from tftransformer.errors import TransformerError, check_whole


class _Counts(keras.metrics.Metric):
    """A metric whose state is counts: sums over batches and over the replicas of a strategy."""

    # More is better: Keras's EarlyStopping, ModelCheckpoint and ReduceLROnPlateau read it where nobody tells them.
    _direction = "up"

    def __init__(self, num_classes: int, name: str | None, dtype: str | None) -> None:
        # Counts in half precision stop growing at 256 or 2048, so the policy of the model is not followed.
        super().__init__(name=name, dtype=dtype or "float32")
        check_whole("num_classes", num_classes)
        self.num_classes = num_classes

    def _checked(self, y_pred: Any) -> Any:
        y_pred = ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) != 2 or y_pred.shape[-1] != self.num_classes:
            raise TransformerError(f"y_pred must be (B, {self.num_classes}); got shape {tuple(y_pred.shape)}")
        return y_pred

    def get_config(self) -> dict:
        return {**super().get_config(), "num_classes": self.num_classes}


def _f1(hits, predicted, actual):
    """F1 from counts of any shape; 0 where nothing was to be found and nothing was."""
    total = predicted + actual
    return 2.0 * hits / ops.where(total > 0, total, ops.ones_like(total))


@keras.saving.register_keras_serializable(package="tftransformer")
class MacroF1(_Counts):
    """Macro F1 of a single-label classifier, from integer targets.

    The mean runs over the classes that stand in the targets or in the predictions so far, as
    `sklearn.metrics.f1_score(average="macro")` does. The state is a (C, C) confusion matrix; float32 counts
    exactly up to 16.7 million texts a cell.

    Args:
        num_classes: C.
        name: Name that `fit` shows.
        dtype: Dtype of the counts; float32 whatever the dtype policy.

    Call arguments:
        y_true: (B,) or (B, 1) integers; values outside 0 to C-1 are left out.
        y_pred: (B, C) logits or probabilities: only their order matters.
        sample_weight: (B,) or (B, 1).

    Raises:
        TransformerError: `num_classes` is not a positive whole number, or `y_pred` has another width.

    Example:
        >>> metric = MacroF1(3)
        >>> metric.update_state([0, 1], [[2.0, 1.0, 0.0], [0.1, 3.0, 0.0]])
        >>> float(metric.result())
        1.0
    """

    def __init__(self, num_classes: int, name: str = "macro_f1", dtype: str | None = None) -> None:
        super().__init__(num_classes, name, dtype)
        self.confusion = self.add_weight(shape=(num_classes, num_classes), initializer="zeros", name="confusion")

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        y_pred = self._checked(y_pred)
        targets = ops.cast(ops.reshape(ops.convert_to_tensor(y_true), (-1,)), "int32")
        rows = ops.one_hot(targets, self.num_classes, dtype=self.dtype)
        if sample_weight is not None:
            rows = rows * ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        columns = ops.one_hot(ops.argmax(y_pred, axis=-1), self.num_classes, dtype=self.dtype)
        self.confusion.assign_add(ops.matmul(ops.transpose(rows), columns))

    def result(self):
        matrix = ops.convert_to_tensor(self.confusion)
        predicted, actual = ops.sum(matrix, axis=0), ops.sum(matrix, axis=1)
        present = ops.sum(ops.cast(predicted + actual > 0, matrix.dtype))
        return ops.sum(_f1(ops.diagonal(matrix), predicted, actual)) / ops.maximum(present, ops.ones_like(present))


class _Thresholded:
    """Mixed into metrics that compare probabilities with a threshold: their own, or that of the task they follow."""

    def _compare_with(self, threshold: float | None, from_logits: bool) -> None:
        if threshold is not None and not 0 <= threshold <= 1:
            raise TransformerError(f"threshold must be between 0 and 1; got {threshold}")
        self.threshold = None if threshold is None else float(threshold)
        self.from_logits = from_logits
        # A function, since Keras would save a model that it finds in an attribute.
        self._threshold = lambda: self.threshold

    def follow(self, task: Any) -> None:
        """Compare with `task.threshold`, as it is when the metric is traced, unless the metric has its own."""
        if self.threshold is None:
            self._threshold = lambda: task.threshold

    def _predicted(self, y_pred: Any) -> Any:
        """(B, C) whether each label is predicted."""
        threshold = self._threshold()
        if threshold is None:
            raise TransformerError("threshold must be given where the metric follows no task; got None")
        scores = ops.cast(y_pred, "float32")
        return (ops.sigmoid(scores) if self.from_logits else scores) >= threshold

    def get_config(self) -> dict:
        return {**super().get_config(), "threshold": self.threshold, "from_logits": self.from_logits}


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiLabelAccuracy(_Thresholded, keras.metrics.Mean):
    """The fraction of right decisions, of which a text has one for each label.

    Args:
        threshold, from_logits: As for `MultiLabelF1`.
        name: Name that `fit` shows.
        dtype: Dtype of the mean.

    Call arguments: As for `MultiLabelF1`.

    Example:
        >>> metric = MultiLabelAccuracy()
        >>> metric.update_state([[1, 0], [1, 1]], [[0.9, 0.2], [0.8, 0.4]])
        >>> float(metric.result())
        0.75
    """

    _direction = "up"

    def __init__(
        self, threshold: float | None = 0.5, from_logits: bool = False, name: str = "accuracy", dtype: str | None = None
    ) -> None:
        super().__init__(name=name, dtype=dtype or "float32")
        self._compare_with(threshold, from_logits)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        right = ops.equal(self._predicted(ops.convert_to_tensor(y_pred)), ops.cast(y_true, "float32") > 0.5)
        super().update_state(ops.mean(ops.cast(right, "float32"), axis=-1), sample_weight)


@keras.saving.register_keras_serializable(package="tftransformer")
class MultiLabelF1(_Thresholded, _Counts):
    """Micro or macro F1 of a classifier that may give a text several labels.

    Args:
        num_classes: C.
        average: "macro" (mean over all labels; one that neither stands in the targets nor is predicted has 0, as
            in `sklearn.metrics.f1_score(average="macro", zero_division=0)`) or "micro" (all decisions pooled).
        threshold: A label is predicted where its probability is at least this. None: that of the task that the
            metric is to `follow`.
        from_logits: `y_pred` holds logits; a sigmoid is applied first.
        name: Name that `fit` shows; by default `macro_f1` or `micro_f1`.
        dtype: Dtype of the counts; float32 whatever the dtype policy.

    Call arguments:
        y_true: (B, C) of 0 and 1.
        y_pred: (B, C).
        sample_weight: (B,) or (B, 1).

    Raises:
        TransformerError: An argument out of range, or `y_pred` of another width.

    Example:
        >>> metric = MultiLabelF1(2, average="micro")
        >>> metric.update_state([[1, 0], [1, 1]], [[0.9, 0.2], [0.8, 0.4]])
        >>> round(float(metric.result()), 2)
        0.8
    """

    def __init__(
        self,
        num_classes: int,
        average: str = "macro",
        threshold: float | None = 0.5,
        from_logits: bool = False,
        name: str | None = None,
        dtype: str | None = None,
    ) -> None:
        if average not in ("macro", "micro"):
            raise TransformerError(f"average must be 'macro' or 'micro'; got {average!r}")
        super().__init__(num_classes, name or f"{average}_f1", dtype)
        names = ("hits", "predicted", "actual")
        self.counts = [self.add_weight(shape=(num_classes,), initializer="zeros", name=each) for each in names]
        self.average = average
        self._compare_with(threshold, from_logits)

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        y_pred = self._checked(y_pred)
        predicted = ops.cast(self._predicted(y_pred), self.dtype)
        actual = ops.cast(ops.cast(y_true, self.dtype) > 0.5, self.dtype)
        weight = ops.ones_like(predicted[:, :1])
        if sample_weight is not None:
            weight = ops.reshape(ops.cast(sample_weight, self.dtype), (-1, 1))
        for count, found in zip(self.counts, (predicted * actual, predicted, actual), strict=True):
            count.assign_add(ops.sum(found * weight, axis=0))

    def result(self):
        counts = [ops.convert_to_tensor(count) for count in self.counts]
        return ops.mean(_f1(*counts)) if self.average == "macro" else _f1(*map(ops.sum, counts))

    def get_config(self) -> dict:
        return {**super().get_config(), "average": self.average}


@keras.saving.register_keras_serializable(package="tftransformer")
class Perplexity(keras.metrics.Metric):
    """The exponential of the mean cross-entropy of tokens, in nats, over all tokens of all batches.

    keras-hub has one, too; this one takes the weights that batches have here, 0 at padding, and no mask token.

    Args:
        name: Name that `fit` shows.
        dtype: Dtype of the sums; float32 whatever the dtype policy.

    Call arguments:
        y_true: (B, T) ids.
        y_pred: (B, T, V) logits.
        sample_weight: (B, T).

    Example:
        >>> metric = Perplexity()
        >>> metric.update_state([[0, 1]], [[[0.0, 0.0], [0.0, 0.0]]], sample_weight=[[1.0, 0.0]])
        >>> round(float(metric.result()), 4)
        2.0
    """

    _direction = "down"

    def __init__(self, name: str = "perplexity", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype or "float32")
        self.total = self.add_variable((), "zeros", name="total")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        losses = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        weights = ops.ones_like(losses) if sample_weight is None else ops.cast(sample_weight, losses.dtype)
        self.total.assign_add(ops.cast(ops.sum(losses * weights), self.dtype))
        self.count.assign_add(ops.cast(ops.sum(weights), self.dtype))

    def result(self) -> Any:
        return ops.exp(self.total / ops.maximum(self.count, 1e-9))


@keras.saving.register_keras_serializable(package="tftransformer")
class Pearson(keras.metrics.Metric):
    """Pearson's correlation of targets and predictions over all rows of all batches; the mean where a row has several numbers.

    `keras.metrics.PearsonCorrelation` correlates the numbers within each row, which is something else. Numbers far from 0
    lose digits in float32 sums: bring them to mean 0 and scale 1 first, as a `TextRegressor` does.

    Args:
        num_outputs: K, numbers a row.
        name: Name that `fit` shows.
        dtype: Dtype of the sums; float32 whatever the dtype policy.

    Call arguments:
        y_true, y_pred: (B, K), or (B,) for one number.
        sample_weight: (B,).

    Example:
        >>> metric = Pearson()
        >>> metric.update_state([[1.0], [2.0], [4.0]], [[2.0], [4.0], [8.0]])
        >>> round(float(metric.result()), 4)
        1.0
    """

    _direction = "up"

    def __init__(self, num_outputs: int = 1, name: str = "pearson", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype or "float32")
        self.num_outputs = num_outputs
        # Sums, which add up over replicas: of weights, both, their squares and products.
        self.sums = self.add_variable((6, num_outputs), "zeros", name="sums")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        x, y = (ops.reshape(ops.cast(v, self.dtype), (-1, self.num_outputs)) for v in (y_true, y_pred))
        weights = ops.ones_like(x[:, :1]) if sample_weight is None else ops.cast(sample_weight, self.dtype)
        weights = ops.reshape(weights, (-1, 1))
        terms = (ops.ones_like(x), x, y, x * x, y * y, x * y)
        self.sums.assign_add(ops.stack([ops.sum(weights * term, axis=0) for term in terms]))

    def result(self) -> Any:
        count = ops.maximum(self.sums[0], 1e-12)
        x, y, xx, yy, xy = (self.sums[i] / count for i in range(1, 6))
        spread = ops.maximum(xx - x * x, 0.0) * ops.maximum(yy - y * y, 0.0)
        return ops.mean((xy - x * y) / ops.maximum(ops.sqrt(spread), 1e-12))

    def get_config(self) -> dict:
        return {**super().get_config(), "num_outputs": self.num_outputs}


class WrappingMetric(keras.metrics.Metric):
    """A metric that hands another one what that reads; subclasses say it in `update_state`.

    Args:
        metric: The other metric, or its serialized form.
        name: Shown by `fit`; by default the other's.
    """

    def __init__(self, metric: Any, name: str | None = None) -> None:
        metric = keras.metrics.deserialize(metric) if isinstance(metric, dict) else metric
        super().__init__(name=name or metric.name, dtype=metric.dtype)
        self.metric = metric
        if hasattr(metric, "_direction"):
            # Keras's EarlyStopping and ModelCheckpoint read it where nobody tells them.
            self._direction = metric._direction

    def result(self) -> Any:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict:
        return {"metric": keras.metrics.serialize(self.metric), "name": self.name}
