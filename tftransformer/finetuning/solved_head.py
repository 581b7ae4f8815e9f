"""Give a task's linear head the weights that are best on vectors of labelled texts."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model

if TYPE_CHECKING:
    from tftransformer.models.task import Task


def check_linear_head(model: Model, name: str) -> None:
    """Raise a `TransformerError` unless a model is a task whose one linear head can be solved for."""
    from tftransformer.layers.heads import ClassificationHead

    head = getattr(model, "head", None)
    if not isinstance(head, ClassificationHead) or not getattr(getattr(model, "objective", None), "labels", ()):
        raise TransformerError(f"{name} is for a classifier with one linear head; got a {type(model).__name__}")
    if head.logits.delta is not None:
        raise TransformerError(f"{name} needs a head without a change in it: tt.merge puts it into the weights")


def solve_head(
    task: "Task",
    vectors: np.ndarray,
    targets: np.ndarray,
    weights: Any,
    strength: float | None = None,
    names: bool = False,
) -> str:
    """Set a task's head to the logistic regression on vectors of labelled texts.

    Args:
        task: Task with a `ClassificationHead`.
        vectors: (B, D) that its head sees.
        targets: (B,) ids, or (B, C) zeros and ones.
        weights: (B,) factors on the rows' losses; None for 1.
        strength, names: As of `HeadStart`.

    Returns:
        A line that describes the result.
    """
    from tftransformer.finetuning.linear_head import fit_linear_head

    # Names are single texts.
    texts = name_texts(task.objective.labels) if names and not task.text_pairs else None
    named = None if texts is None else task.encode(texts)
    found = fit_linear_head(
        vectors, targets, len(task.objective.labels), weights=weights, names=named, strength=strength, seed=task.seed
    )
    task.head.logits.kernel.assign(found.kernel)
    task.head.logits.bias.assign(found.bias)
    held_out = "" if found.accuracy is None else f", {found.accuracy:.3f} right on held-out training rows"
    rows = f"{len(vectors):,} vectors{'' if texts is None else ' and the names of the labels'}"
    return f"the head is a logistic regression on {rows}: strength {found.strength:g}{held_out}"


def name_texts(labels: Sequence[str]) -> list[str] | None:
    """The names of labels as texts; None unless nine of ten have a word of three letters.

    Example:
        >>> name_texts(["card_lost", "exchange-rate"]), name_texts(["0", "1"])
        (['card lost', 'exchange rate'], None)
    """
    if sum(bool(re.search(r"[^\W\d_]{3}", label)) for label in labels) < 0.9 * len(labels):
        return None
    return [" ".join(re.sub(r"[\W_]+", " ", label).split()) for label in labels]
