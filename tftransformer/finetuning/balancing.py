"""Weights of classes in the loss, for labels that are out of balance."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

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
        spec: "balanced"; a mapping from the name or the number of a class to its weight (1 for those left
            out); a sequence of one weight a class; or None or "none" for no weights.
        labels: The labels of the training examples.
        classes: The classes in the order of their numbers; by default the distinct labels, sorted.

    Returns:
        `{class number: weight}`, or None.

    Raises:
        TransformerError: An unknown spec or class, a weight that is negative or no number, or with
            "balanced" a class without an example.

    Example:
        >>> class_weights("balanced", ["no", "no", "no", "yes"])
        {0: 0.6666666666666666, 1: 2.0}
    """
    if spec is None or spec == "none":
        return None
    counts = Counter(_plain(label) for label in labels)
    classes = sorted(counts) if classes is None else [_plain(label) for label in classes]
    if isinstance(spec, str):
        if spec != "balanced":
            raise TransformerError(
                f"class_weight must be 'balanced', 'none' or a weight for each class; got {spec!r}"
                f"{near_miss(spec, ('balanced', 'none'))}"
            )
        return _balanced(counts, classes)
    if isinstance(spec, Mapping):
        given = {_number_of(_plain(label), classes): weight for label, weight in spec.items()}
        weights = [given.get(number, 1.0) for number in range(len(classes))]
    else:
        weights = list(spec)
        if len(weights) != len(classes):
            raise TransformerError(
                f"class_weight must have a weight for each of the {len(classes)} classes; got {len(weights)}"
            )
    return {number: _weight(weight) for number, weight in enumerate(weights)}


def _balanced(counts: Counter, classes: Sequence[Any]) -> dict[int, float]:
    missing = [label for label in classes if not counts[label]]
    if missing:
        raise TransformerError(
            f"class_weight 'balanced' needs an example of every class; {missing[0]!r} has none"
        )
    total = sum(counts[label] for label in classes)
    return {number: total / (len(classes) * counts[label]) for number, label in enumerate(classes)}


def _number_of(label: Any, classes: Sequence[Any]) -> int:
    if label in classes:
        return list(classes).index(label)
    if isinstance(label, int) and 0 <= label < len(classes):
        return label
    raise TransformerError(
        f"class_weight names the class {label!r}, which the labels do not have"
        f"{near_miss(str(label), [str(known) for known in classes])}"
    )


def _plain(label: Any) -> Any:
    # NumPy's scalars are not equal to their own text and print with their type.
    return label.item() if hasattr(label, "item") else label


def _weight(weight: Any) -> float:
    try:
        value = float(weight)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise TransformerError(f"class_weight must hold numbers of at least 0; got {weight!r}")
    return value
