"""A head that starts where it is best on the vectors as they are: linear probing, then fine-tuning.

Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution"
(arXiv:2202.10054).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, Number
from tftransformer.finetuning.methods.head_only import HeadOnly
from tftransformer.finetuning.solved_head import check_linear_head, solve_head

if TYPE_CHECKING:
    from tftransformer.models.task import Task


@dataclass(frozen=True)
class HeadStart(Method):
    """Before the first update, `fit` sets the head to the logistic regression on the encoder's vectors.

    So pretrained weights need not make up for a random head, and no run falls below what the vectors alone achieve. The
    regression's penalty is chosen by cross-validation (`finetuning.linear_head`). Other methods of the list say what
    trains then; the head trains at the rate of everything else, unless `compile` is given a `fresh_multiplier`.

    Args:
        strength: Inverse strength of the regression's penalty, for vectors of length 1. None: chosen.
        names: Whether the name of each label counts as one more text of it, where all names are words. With one or
            two rows a label that is most of the information; with many it does not matter.

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
    hooks = ("optimizer_options", "before_training")
    once = True

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)

    def places(self, model: Model) -> set[str]:
        return {"head"}

    def optimizer_options(self, model: Model) -> dict[str, Any]:
        return {"fresh_multiplier": 1.0}

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        return solve_head(task, vectors(), examples.targets.values, weights, self.strength, self.names)


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
    hooks = ("before_training",)
    number = Number("strength", float, "a number above 0", lambda value: 0 < value < float("inf"))
    alone = True
    takes_updates = False

    def check(self, model: Model) -> None:
        check_linear_head(model, self.name)

    def before_training(self, task: "Task", examples: Any, weights: Any, vectors: Callable[[], np.ndarray]) -> str:
        return solve_head(task, vectors(), examples.targets.values, weights, self.strength, self.names)


def can_start(task: "Task") -> bool:
    """Return whether only a task's linear head starts from random numbers, and none of it has been trained."""
    from tftransformer.finetuning.adapter_config import adapter_config

    try:
        check_linear_head(task, HeadStart.name)
    except TransformerError:
        return False
    fresh = bool(task.newly_initialized) and all(name.startswith("head/") for name in task.newly_initialized)
    return fresh and task.head.trainable and not (task.methods or adapter_config(task))
