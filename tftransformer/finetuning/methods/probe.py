"""A head that starts where it is best on the vectors as they are: linear probing, then fine-tuning.

Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
(arXiv:2202.10054).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods.base import Method, Model, Number
from tftransformer.finetuning.methods.head_only import HeadOnly

if TYPE_CHECKING:
    from tftransformer.models.task import Task


@dataclass(frozen=True)
class HeadStart(Method):
    """Before the first update, `fit` sets the head to the logistic regression on the encoder's vectors.

    So nothing of what is pretrained has to make up for a random head, and no run falls below what the vectors are worth.
    The regression's penalty is chosen by cross-validation (`finetuning.linear_head`). What trains then is what other
    methods of the list say; the head with the rate of everything else, unless `compile` is given a `fresh_multiplier`.

    Args:
        strength: Inverse strength of the regression's penalty, for vectors of length 1. None: chosen.
        names: Whether the name of each label counts as one more text of it, where all names are words. With a row or
            two a label that is most of what there is to know; with many it does not matter.

    Raises:
        TransformerError: On `apply`: the model has no linear head of one task, or a change in it that is not merged. In
            `fit`: a dataset, whose rows are not known beforehand.

    Example:
        >>> str(HeadStart())
        'head_start'
    """

    strength: float | None = None
    names: bool = True

    name = "head_start"
    about = "the head starts as a logistic regression on the encoder's vectors"
    once = True

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)

    def places(self, model: Model) -> set[str]:
        return {"head"}

    def optimizer_options(self, model: Model) -> dict[str, Any]:
        return {"fresh_multiplier": 1.0}

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        return solve_head(task, vectors(), examples.targets, weights, self.strength, self.names)


@dataclass(frozen=True)
class LinearProbe(HeadOnly):
    """The head is the logistic regression on the encoder's vectors, and nothing else is trained.

    `fit` takes no updates: it runs the encoder once over the texts and solves for the head. With little data and an
    encoder that was trained on sentences this is hard to beat (`finetuning.recipe`), and takes seconds.

    Args:
        strength: Inverse strength of the regression's penalty, for vectors of length 1. None: chosen by
            cross-validation.
        names: As for `HeadStart`.

    Raises:
        TransformerError: As for `HeadStart`.

    Example:
        >>> str(LinearProbe(10.0))
        'probe:10.0'
    """

    strength: float | None = None
    names: bool = True

    name = "probe"
    about = "the head is a logistic regression on the encoder's vectors; no updates"
    number = Number("strength", float, "a number above 0", lambda value: 0 < value < float("inf"))
    alone = True
    takes_updates = False

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        return solve_head(task, vectors(), examples.targets, weights, self.strength, self.names)


def check_linear_head(model: Model, name: str) -> None:
    """Raise a `TransformerError` unless a model is a task whose one linear head can be solved for."""
    from tftransformer.layers.heads import ClassificationHead

    head = getattr(model, "head", None)
    if not isinstance(head, ClassificationHead) or not hasattr(model, "encode"):
        raise TransformerError(f"{name} is for a classifier with one linear head; got a {type(model).__name__}")
    if head.logits.delta is not None:
        raise TransformerError(f"{name} needs a head without a change in it: tt.merge puts it into the weights")


def can_start(task: "Task") -> bool:
    """Whether a task's linear head is all of it that starts from random numbers, and none of it has been trained."""
    from tftransformer.finetuning.structure import describe_modifications

    try:
        check_linear_head(task, HeadStart.name)
    except TransformerError:
        return False
    fresh = bool(task.fresh) and all(name.startswith("head/") for name in task.fresh)
    return fresh and task.head.trainable and not (task.methods or describe_modifications(task))


def solve_head(
    task: "Task",
    vectors: np.ndarray,
    targets: np.ndarray,
    weights: Any,
    strength: float | None = None,
    names: bool = False,
) -> str:
    """Set a task's head to the best on vectors of labelled texts.

    Args:
        task: Task with a `ClassificationHead`.
        vectors: (B, D) that its head sees.
        targets: (B,) ids, or (B, C) zeros and ones.
        weights: (B,) factors on the rows' losses; None for 1.
        strength, names: As of `HeadStart`.

    Returns:
        What was found, in one line.
    """
    from tftransformer.finetuning.linear_head import fit_linear_head
    from tftransformer.finetuning.methods.nearest_texts import forget_texts

    # Names are single texts.
    texts = name_texts(task.labels) if names and not task.text_pairs else None
    named = None if texts is None else task.encode(texts)
    found = fit_linear_head(
        vectors, targets, len(task.labels), weights=weights, names=named, strength=strength, seed=task.seed
    )
    forget_texts(task)
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
