"""Regression: one number a row or several, learned at mean 0 and scale 1 and given in their own units."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tftransformer.data.examples import Examples
from tftransformer.data.fields import Values
from tftransformer.data.numbers import Standardizer, as_numbers
from tftransformer.data.split import Split, require_labelled
from tftransformer.errors import TransformerError
from tftransformer.evaluation.keras_metrics import Pearson, WrappingMetric
from tftransformer.evaluation.regression import regression_metrics
from tftransformer.evaluation.regression_baselines import mean_baseline, tfidf_ridge_baseline
from tftransformer.evaluation.regression_report import RegressionReport
from tftransformer.evaluation.reports import write_rows
from tftransformer.objectives.objective import Objective


@dataclasses.dataclass
class Regression(Objective):
    """Output (B, K) that stands for K numbers a row.

    The network learns them at mean 0 and scale 1, which the first `fit` reads off its targets; losses compare numbers at
    that scale, whatever their unit, and metrics in their own units.

    Args:
        names: The K names of the numbers.
        mean, scale: K numbers each; None until they are known.
        levels: For ratings, the steps of their scale in rising order: reports then compare the nearest level, too, and
            servers answer it. None for other numbers.

    Raises:
        TransformerError: No name, one twice, or levels that do not rise.

    Example:
        >>> objective = Regression(levels=[1, 2, 3])
        >>> objective.learn(lambda: [np.array([[1.0], [3.0]])])
        >>> objective.activate(np.array([[0.0], [0.5]])).numpy().tolist(), objective.nearest([1.8, 9.0]).tolist()
        ([2.0, 2.5], [2.0, 3.0])
    """

    names: Sequence[str] = ("number",)
    mean: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    levels: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.names, str):
            self.names = (self.names,)
        self.names = tuple(str(name) for name in self.names)
        if not self.names or len(set(self.names)) != len(self.names):
            raise TransformerError(f"names must be different names, one for each number; got {self.names!r:.80}")
        if (self.mean is None) != (self.scale is None):
            raise TransformerError("mean and scale must be given together, or neither")
        if self.mean is not None:
            known = Standardizer(self.mean, self.scale)
            if len(known.mean) != len(self.names):
                raise TransformerError(f"mean must be {len(self.names)} numbers, one a name; got {len(known.mean)}")
            self.mean, self.scale = known.mean, known.scale
        if self.levels is not None:
            steps = as_numbers(self.levels, "levels", dtype="float64")
            if steps.ndim != 1 or len(steps) < 2 or not (np.diff(steps) > 0).all():
                raise TransformerError(f"levels must be at least two numbers in rising order; got {self.levels!r:.80}")
            self.levels = tuple(steps.tolist())

    # Targets.

    def encode(self, targets: Any) -> Values:
        """Return the numbers (B, K), float32, in their own units.

        Raises:
            TransformerError: A value is no finite number or none of the levels, or a row has not K.
        """
        values = as_numbers(targets, "targets")
        values = values[:, None] if values.ndim == 1 else values
        if values.shape[1] != len(self.names):
            raise TransformerError(
                f"targets must have {len(self.names)} numbers in each row, {', '.join(self.names)}; got {values.shape[1]}"
            )
        self._check_levels(values)
        return Values(values)

    def _check_levels(self, values: np.ndarray) -> None:
        if self.levels is None or not len(values):
            return
        gaps = np.abs(values[..., None] - np.array(self.levels)).min(-1)
        # Targets are kept in float32.
        if (wrong := gaps > 1e-5 * np.abs(self.levels).max()).any():
            row, column = np.argwhere(wrong)[0]
            shown = ", ".join(f"{level:g}" for level in self.levels[:10])
            raise TransformerError(
                f"targets must be among the levels, {shown}; got {values[row, column]:g} in row {row} (from 0)"
            )

    def stream_encoder(self) -> Callable:
        def encode(targets: tf.Tensor) -> tf.Tensor:
            numbers = tf.strings.to_number(targets) if targets.dtype == tf.string else tf.cast(targets, tf.float32)
            numbers = tf.reshape(numbers, [-1, len(self.names)])
            finite = tf.debugging.assert_all_finite(numbers, "y must hold finite numbers")
            with tf.control_dependencies([finite]):
                return tf.identity(numbers)

        return encode

    @property
    def classes(self) -> tuple:
        return self.names

    def learn(self, targets: Callable[[], Iterable[np.ndarray]]) -> None:
        """Take mean and scale from the training targets, where they are not known yet."""
        if self.mean is None:
            known = Standardizer.of(np.concatenate([np.reshape(part, (-1, len(self.names))) for part in targets()]))
            self.mean, self.scale = known.mean, known.scale

    # Training.

    def compiled(self, loss: Any, metrics: Any, weighted_metrics: Any, smoothing: float) -> dict[str, Any]:
        """Return loss and metrics; mean squared error, MAE and Pearson's correlation where none are given."""
        super().compiled(None, None, None, smoothing)
        loss = keras.losses.get("mse" if loss is None else loss)
        if not isinstance(loss, keras.losses.Loss):
            loss = keras.losses.MeanSquaredError() if loss is keras.losses.mean_squared_error else _Function(loss)
        arguments = {"loss": AtScaleOne(loss), "metrics": self.metrics() if metrics is None else _listed(metrics)}
        if weighted_metrics is not None:
            arguments["weighted_metrics"] = _listed(weighted_metrics)
        for name in arguments.keys() - {"loss"}:
            arguments[name] = [m if isinstance(m, InUnits) else InUnits(_metric(m)) for m in arguments[name]]
        for value in arguments.values():
            self.follow(value)
        return arguments

    def metrics(self) -> list[keras.metrics.Metric]:
        """Return mean absolute error and Pearson's correlation."""
        return [keras.metrics.MeanAbsoluteError(name="mae"), Pearson(len(self.names))]

    def follow(self, parts: Any) -> Any:
        for part in keras.tree.flatten(parts):
            if isinstance(part, (AtScaleOne, InUnits)):
                part.follow(self)
        return parts

    def traced(self) -> tuple:
        return (self.mean, self.scale)

    def standardized(self, numbers: Any) -> Any:
        """Return (B, K) in units as (B, K) at mean 0 and scale 1."""
        return ops.cast(numbers, "float32") if self.mean is None else (
            ops.cast(numbers, "float32") - np.float32(self.mean)) / np.float32(self.scale)  # fmt: skip

    def in_units(self, output: Any) -> Any:
        """Return the network's output (B, K) in the numbers' own units."""
        output = ops.cast(output, "float32")
        return output if self.mean is None else output * np.float32(self.scale) + np.float32(self.mean)

    # Predictions.

    def activate(self, output: Any) -> Any:
        """Return the numbers in their own units: (B,) for one a row, else (B, K)."""
        numbers = self.in_units(output)
        return numbers[:, 0] if len(self.names) == 1 else numbers

    @property
    def output_shape(self) -> tuple[int, ...]:
        return () if len(self.names) == 1 else (len(self.names),)

    def nearest(self, numbers: Any) -> np.ndarray:
        """Return the nearest level of each number, the lower of two equally near.

        Raises:
            TransformerError: There are no levels.
        """
        if self.levels is None:
            raise TransformerError("levels must be given for the nearest of them; this task has none")
        steps = np.array(self.levels)
        return steps[np.searchsorted((steps[1:] + steps[:-1]) / 2, np.asarray(numbers))]

    def report(self, data: Any, numbers: np.ndarray, baselines: Sequence[dict] = ()) -> RegressionReport:
        """Return errors, correlations and intervals of what `predict` returned, for labelled data; `print` it.

        Raises:
            TransformerError: The data have no targets.
        """
        if isinstance(data, Examples):
            if data.targets is None:
                raise TransformerError("data must have targets; got examples without")
            values = data.targets.values
        else:
            values = self.encode(require_labelled(data).targets).values
        figures = regression_metrics(values, np.reshape(numbers, values.shape), self.names, levels=self.levels)
        return RegressionReport(figures, baselines)

    # In the units of the targets, and defined for any predictions, as correlations are not.
    monitor = ("val_mae", "min")

    def baselines(self, train: Split, test: Split, seed: int = 0) -> list[dict]:
        """Return the figures of the mean, and of word counting, TF-IDF and ridge regression."""
        given = {"names": self.names, "levels": self.levels, "seed": seed}
        return [
            mean_baseline(train.targets, test.targets, **given),
            tfidf_ridge_baseline(train.texts, train.targets, test.texts, test.targets, **given),
        ]

    def write_predictions(self, path: str | os.PathLike, data: Split, outputs: np.ndarray) -> None:
        """Write a CSV file with a row a text: `text`, each number by its name, and what is `predicted_` for it."""
        predicted = np.reshape(outputs, (len(data), len(self.names)))
        targets = np.reshape(np.asarray(data.targets, "float64"), predicted.shape)
        columns = [*self.names, *(f"predicted_{name}" for name in self.names)]
        rows = ([*(f"{value:g}" for value in told), *(f"{value:.6g}" for value in found)]
                for told, found in zip(targets, predicted, strict=True))  # fmt: skip
        write_rows(path, data.texts, columns, rows)

    # What a server answers.

    compared = "value"

    def served(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `value`, float32 (B,) or (B, K), and with levels `level`, the nearest, of the same shape."""
        value = tf.cast(self.activate(output), tf.float32)
        if self.levels is None:
            return {"value": value}
        steps = np.array(self.levels, "float32")
        index = tf.reduce_sum(tf.cast(value[..., tf.newaxis] > (steps[1:] + steps[:-1]) / 2, tf.int32), axis=-1)
        return {"value": value, "level": tf.gather(tf.constant(steps), index)}

    def settings(self) -> dict[str, Any]:
        """Return its arguments as JSON values."""
        listed = {name: getattr(self, name) for name in ("names", "mean", "scale", "levels")}
        return {name: None if value is None else list(value) for name, value in listed.items()}


def _listed(metrics: Any) -> list:
    return list(metrics) if isinstance(metrics, (list, tuple)) else [metrics]


def _metric(given: Any) -> keras.metrics.Metric:
    """A metric of a name, a function or a metric."""
    found = keras.metrics.get(given)
    if isinstance(found, keras.metrics.Metric):
        return found
    name = given if isinstance(given, str) else getattr(given, "__name__", None)
    return keras.metrics.MeanMetricWrapper(found, name=name)


class _Following:
    """Loss or metric that reads the scale of a task's objective."""

    def follow(self, objective: Regression) -> None:
        # A function, since Keras would save what it finds in an attribute.
        self._objective = lambda: objective


@keras.saving.register_keras_serializable(package="tftransformer")
class AtScaleOne(_Following, keras.losses.Loss):
    """A loss that compares targets at mean 0 and scale 1 with the network's output.

    Args:
        loss: A loss.

    Shapes: (B, K) in units, (B, K) -> (B,) before the reduction.
    """

    def __init__(self, loss: Any, name: str | None = None) -> None:
        loss = keras.losses.deserialize(loss) if isinstance(loss, dict) else loss
        super().__init__(name=name or loss.name, reduction=loss.reduction)
        self.loss = loss

    def call(self, y_true: Any, y_pred: Any) -> Any:
        return self.loss.call(self._objective().standardized(y_true), ops.cast(y_pred, "float32"))

    def get_config(self) -> dict:
        return {"loss": keras.losses.serialize(self.loss), "name": self.name}


@keras.saving.register_keras_serializable(package="tftransformer")
class InUnits(_Following, WrappingMetric):
    """A metric of targets and predictions in their own units; `Pearson`, which knows no units, at mean 0 and scale 1.

    Args:
        metric: A metric.
        name: Shown by `fit`; by default the metric's.
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        objective = self._objective()
        if isinstance(self.metric, Pearson):
            y_true = objective.standardized(y_true)
        else:
            y_pred = objective.in_units(y_pred)
        self.metric.update_state(y_true, y_pred, sample_weight=sample_weight)


class _Function(keras.losses.Loss):
    """A function of targets and predictions as a loss."""

    def __init__(self, function: Callable) -> None:
        super().__init__(name=getattr(function, "__name__", "loss"))
        self.call = function
