"""The base of objectives: all that depends on what the output of a task means."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.fields import Field
from tftransformer.errors import TransformerError
from tftransformer.export.serving import Signature
from tftransformer.finetuning.recipe import UPDATES


class Objective:
    """Meaning of a task's output; a subclass overrides what is not the same for all tasks.

    The methods stand in the order in which a task needs them: targets become a field, `compile` gets its loss and metrics,
    `fit` its weights, `predict` its values.

    Attributes:
        labels: Names of the classes that the output is logits of; none where it is something else.
        multi_label: Whether a row may have any number of these.
        least_updates: Number of updates that a recipe gives few rows, too.
        monitor: Logged value by which the best epoch is chosen, and "max" or "min", which of its values is best.

    Example:
        >>> class Grades(tt.objectives.Objective):
        ...     def encode(self, targets):
        ...         return tt.data.Values(np.asarray(targets, "float32"))
        >>> Grades().encode([1, 5]).values.tolist()
        [1.0, 5.0]
    """

    labels: Sequence[str] = ()
    multi_label: bool = False
    least_updates: int = UPDATES
    monitor: tuple[str, str] = ("val_loss", "min")

    def encode(self, targets: Any) -> Field:
        """Return the field of targets in any form that a user gives: the numbers that the loss takes.

        Raises:
            TransformerError: They cannot be meant, or there are none for such a task.
        """
        raise TransformerError(f"{type(self).__name__} has no targets")

    def stream_encoder(self) -> Callable | None:
        """Return `encode` for the targets of a dataset's batches, in TensorFlow operations; None leaves them."""
        return None

    @property
    def classes(self) -> tuple:
        """Meaning of the numbers of a target; examples with targets are for tasks where it is the same."""
        return ()

    def compiled(self, loss: Any, metrics: Any, weighted_metrics: Any, smoothing: float) -> dict[str, Any]:
        """Return `loss`, `metrics` and `weighted_metrics` for `keras.Model.compile`.

        Args:
            loss, metrics, weighted_metrics: As the user gave them; None for the usual ones.
            smoothing: Fraction of each target that is spread over all classes.

        Raises:
            TransformerError: A loss or a metric is for another kind of output, or there is nothing to smooth.
        """
        if smoothing:
            raise TransformerError(f"label_smoothing must be 0: {type(self).__name__} has no classes; got {smoothing}")
        return {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics}

    def follow(self, parts: Any) -> Any:
        """Return a loss or metrics in any form that Keras takes, of which those that read a setting of the objective do so."""
        return parts

    def traced(self) -> tuple:
        """Return the settings that a compiled step has read: when one changes, it is traced anew."""
        return ()

    def learn(self, targets: Callable[[], Iterable[np.ndarray]]) -> None:
        """Take what an untrained task is to know of its training targets, such as their scale; `fit` calls it first.

        Args:
            targets: Gives the arrays (B, ...) of all rows, in parts.
        """

    def class_weights(self, given: Any, targets: Field | None) -> tf.Tensor | None:
        """Return a weight for each class id, or None.

        Args:
            given: The `class_weight` of `fit`.
            targets: The training targets; None where they are not known beforehand.

        Raises:
            TransformerError: It is given where there are no classes, or does not fit them.
        """
        if given is None:
            return None
        raise TransformerError(f"class_weight is for classes, which {type(self).__name__} has not")

    def chance_loss(self, loss: Any, targets: Field, weights: np.ndarray | None) -> float | None:
        """Return the loss of a model that knows only the distribution of the targets, to detect a collapsed training.

        Args:
            loss: The training loss.
            targets: The training targets.
            weights: (B,) factors on their losses; None for 1.

        Returns:
            The loss; None where it cannot be compared.
        """
        return None

    def row_losses(self, targets: Field, outputs: np.ndarray) -> np.ndarray:
        """Return the loss (B,) of each row of what `predict` returns, where there is a `chance_loss`."""
        raise NotImplementedError

    def activate(self, output: Any) -> Any:
        """Return what `predict` returns for the network's output."""
        return output

    # How good it is. Data are a split of the kind that the task is trained on.

    def report(self, data: Any, outputs: Any, baselines: Sequence[dict] = ()) -> Any:
        """Return the report on what `predict` returned for labelled data; `print` it.

        Args:
            data: Labelled rows.
            outputs: Result of `predict` for them.
            baselines: Result of `baselines` for the same rows.

        Raises:
            TransformerError: The data have no targets.
        """
        raise TransformerError(f"{type(self).__name__} has no report")

    def baselines(self, train: Any, test: Any, seed: int = 0) -> list[dict]:
        """Return figures of what a model has to beat on test rows, each with a `name`, for its report."""
        return []

    def write_predictions(self, path: str | os.PathLike, data: Any, outputs: Any) -> None:
        """Write a CSV file (RFC 4180, UTF-8) of rows, their targets and what `predict` returned for them."""
        raise TransformerError(f"{type(self).__name__} has no file of predictions")

    # What a server answers.

    def served(self, output: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of a served graph by name, each (B, ...), for the network's output."""
        raise TransformerError(f"{type(self).__name__} does not say how it is served")

    # Name of the one that an export is compared by; it has the shape of what `predict` returns.
    compared: str = ""

    def signature(self, **parts: Any) -> Signature:
        """Return what a server answers.

        Args:
            parts: Of a `Signature`: `inputs`, `sequence_length`, `prepare`, `network` and `layers`.
        """
        return Signature(**{"answers": self.served, "compared": self.compared, "shape": self.output_shape, **parts})

    @property
    def served_labels(self) -> Sequence[str] | None:
        """The names that stand beside an export, in the order of the probabilities; None where it answers no classes."""
        return self.labels or None

    @property
    def output_shape(self) -> tuple[int, ...]:
        """The shape of what `predict` returns for one row."""
        raise TransformerError(f"{type(self).__name__} does not say what shape its outputs have")
