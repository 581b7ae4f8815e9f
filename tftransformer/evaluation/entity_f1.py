"""The F1 of entities while a model trains: equal to `entity_metrics` on the most probable tag of each word."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tftransformer.evaluation.tagging import parted


@keras.saving.register_keras_serializable(package="tftransformer")
class EntityF1(keras.metrics.Metric):
    """Micro-averaged F1 of entities, which are right where first word, last word and type are.

    Of each sentence the tokens count whose weight is above 0: the first pieces of words, next to each other. A sentence that is
    read in several windows counts as several.

    Args:
        tags: The C tags in the order of the logits, in any scheme of prefixes.

    Shapes: ids (B, T), logits or probabilities (B, T, C), weights (B, T).

    Example:
        >>> metric = EntityF1(["O", "B-PLACE", "I-PLACE"])
        >>> scores = np.eye(3)[[[1, 2, 0, 0]]]
        >>> metric.update_state([[1, 2, 0, 1]], scores, sample_weight=[[1, 1, 1, 1]])
        >>> round(float(metric.result()), 4)
        0.6667
    """

    def __init__(self, tags: Sequence[str], name: str = "entity_f1", **options: Any) -> None:
        super().__init__(name=name, **options)
        self.tags = tuple(tags)
        prefixes, names = zip(*(parted(tag) for tag in self.tags), strict=True)
        kinds = sorted(set(names))
        # By tag: its type, and whether it is outside, starts a span, and ends one.
        self._kind = np.array([kinds.index(name) for name in names], "int32")
        self._outside, self._starts, self._ends = (
            np.array([prefix in which for prefix in prefixes]) for which in ("O", "BS", "OES")
        )
        self._direction = "up"
        self.right, self.true, self.predicted = (
            self.add_variable((), "zeros", name=name) for name in ("right", "true", "predicted")
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        true = ops.cast(ops.convert_to_tensor(y_true), "int32")
        predicted = ops.cast(ops.argmax(ops.convert_to_tensor(y_pred), axis=-1), "int32")
        shape = ops.shape(true)
        weights = ops.ones(shape) if sample_weight is None else ops.convert_to_tensor(sample_weight)
        real = ops.cast(ops.broadcast_to(weights > 0, shape), "int32")
        # Words to the front, in their order, so that neighbours stand together.
        order = ops.argsort(ops.arange(shape[1]) + (1 - real) * shape[1], axis=-1)
        true, predicted, real = (ops.take_along_axis(values, order, axis=-1) for values in (true, predicted, real))
        one, other = self._spans(true, real), self._spans(predicted, real)
        for total, spans in ((self.true, one), (self.predicted, other)):
            total.assign_add(ops.sum(ops.cast(spans[0], total.dtype)))
        # A span is right where both start and end at the same places, with the same type.
        same = one[0] & other[0] & (one[1] == other[1]) & (one[2] == other[2])
        self.right.assign_add(ops.sum(ops.cast(same, self.right.dtype)))

    def _spans(self, ids: Any, real: Any) -> tuple[Any, Any, Any]:
        """Return where spans start (B, T), the place after the end of the one that starts there, and its type."""
        kind, outside = ops.take(self._kind, ids), ops.take(self._outside, ids) | (real == 0)
        first = ops.ones_like(outside[:, :1])
        last_kind = ops.concatenate([kind[:, :1], kind[:, :-1]], axis=-1)
        closed = ops.take(self._ends, ids) | (real == 0)
        closed = ops.concatenate([first, closed[:, :-1]], axis=-1)
        starts = ~outside & (ops.take(self._starts, ids) | closed | (kind != last_kind))
        # A span ends before the next place that starts another or is outside.
        places = ops.arange(ops.shape(ids)[1])
        stops = ops.where(starts | outside, places, ops.shape(ids)[1])
        later = places[None, :] > places[:, None]
        ends = ops.min(ops.where(later[None], stops[:, None, :], ops.shape(ids)[1]), axis=-1)
        return starts, ends, kind

    def result(self) -> Any:
        return ops.divide_no_nan(2 * self.right, self.true + self.predicted)

    def get_config(self) -> dict:
        return {"name": self.name, "dtype": self.dtype, "tags": list(self.tags)}
