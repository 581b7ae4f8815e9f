"""Class weights in the loss, for unbalanced labels."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tftransformer.data.labels import label_ids, label_name, label_names, named_targets, sort_labels
from tftransformer.data.tables import as_column
from tftransformer.errors import TransformerError, near_miss


def class_weights(
    spec: str | Mapping[Any, float] | Sequence[float] | None,
    labels: Sequence[Any],
    classes: Sequence[Any] | None = None,
) -> dict[int, float] | None:
    """Keras's `class_weight`: a weight for each class number.

    "balanced" gives class c the weight `n / (k * n_c)`, for n examples, k classes and n_c examples of the
    class (King & Zeng 2001), so that every class adds the same to the loss and the mean weight of an example
    is 1.

    Args:
        spec: "balanced"; a mapping from a class to its weight (1 for those left out), by what means it as a label
            (`data.labels`); a sequence of one weight a class; or None or "none" for no weights.
        labels: The labels of the training examples.
        classes: The classes in the order of their numbers; by default the distinct labels, sorted.

    Returns:
        `{class number: weight}`, or None.

    Raises:
        TransformerError: An unknown spec or class, one twice, a weight that is negative or no number, or with
            "balanced" a class without an example.

    Example:
        >>> class_weights("balanced", ["no", "no", "no", "yes"])
        {0: 0.6666666666666666, 1: 2.0}
    """
    if spec is None or spec == "none":
        return None
    names = named_targets(as_column(labels), False, lambda row: f"row {row} (from 0)")
    classes = sort_labels(names) if classes is None else label_names(classes)
    if isinstance(spec, str):
        if spec != "balanced":
            raise TransformerError(
                f"class_weight must be 'balanced', 'none' or a weight for each class; got {spec!r}"
                f"{near_miss(spec, ('balanced', 'none'))}"
            )
        return _balanced(Counter(names), classes)
    weights = _by_class(spec, classes) if isinstance(spec, Mapping) else list(spec)
    if len(weights) != len(classes):
        raise TransformerError(
            f"class_weight must have a weight for each of the {len(classes)} classes; got {len(weights)}"
        )
    checked = {number: _weight(weight) for number, weight in enumerate(weights)}
    if not any(checked.values()):
        raise TransformerError("class_weight must be above 0 for one class at least; got zeros alone")
    return checked


def _balanced(counts: Counter, classes: Sequence[str]) -> dict[int, float]:
    missing = [label for label in classes if not counts[label]]
    if missing:
        raise TransformerError(f"class_weight 'balanced' needs an example of every class; {missing[0]!r} has none")
    total = sum(counts[label] for label in classes)
    return {number: total / (len(classes) * counts[label]) for number, label in enumerate(classes)}


def _by_class(spec: Mapping[Any, Any], classes: Sequence[str]) -> list:
    ids, weights = label_ids(classes), dict.fromkeys(range(len(classes)), None)
    for label, weight in spec.items():
        number = ids.get(label_name(label))
        if number is None:
            raise TransformerError(
                f"class_weight names the class {label!r}, which the labels do not have{near_miss(str(label), classes)}"
            )
        if weights[number] is not None:
            raise TransformerError(f"class_weight must name a class once; got {classes[number]!r} twice")
        weights[number] = weight
    return [1.0 if weight is None else weight for weight in weights.values()]


def _weight(weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TransformerError(f"class_weight must hold numbers of at least 0; got {weight!r}")
    return value
