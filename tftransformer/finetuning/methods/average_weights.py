"""The model that comes out has the average of the weights of many updates, not those of the last one."""

from dataclasses import dataclass
from typing import Any

from tftransformer.finetuning.arguments import Model, check_number
from tftransformer.finetuning.methods.base import Method, Number

_RULE = "above 0 and at most 1"


@dataclass(frozen=True)
class AverageWeights(Method):
    """Average of the weights over the updates of a run, used by validation during `fit` and by everything after it.

    Training itself is the same, bit for bit. Beside the weights the optimizer keeps their running average, in
    which the weights after update s count in proportion to about s ** k, with k = 2 / fraction - 2: polynomial-decay
    averaging (Shamir & Zhang 2013, arXiv:1212.1824), after Polyak & Juditsky 1992 and Izmailov et al. 2018
    (arXiv:1803.05407). An exponential average of a fixed momentum lags in a few hundred updates; the mean over the end of
    a run is not available before that, nor if a run is stopped early. Weights that do not train stay as they are.

    Validation, and what callbacks compare or write at the end of an epoch (`EarlyStopping`, `ModelCheckpoint`), is of
    the average; loss and metrics of the training batches are of the weights that train. Each `fit` begins a new
    average, from the weights that the model has. With `initial_epoch` or `BackupAndRestore` a run goes on from the
    weights that it trained, which the optimizer keeps and saves, and ends like an uninterrupted run. Stages of
    `GradualUnfreezing` have one average; a run that begins again after a collapse has a new one. Of LoRA the factors
    are averaged, not their product.

    Translation and summaries end with it by default, as Vaswani et al. 2017 averaged checkpoints. It was not seen to make
    classifiers better. Nine trainings (SST-2, MRPC, Medical Abstracts,
    50 to 1,000 rows, two seeds, the 12 x 192 encoder, `head_start`), each judged with its average and with the weights
    that trained: accuracy +0.09 points, standard error 0.12. The log loss falls by 2 to 19 %, but by next to nothing
    once both have their best temperature, which `calibrate` finds. It costs a copy of what trains, and some per cent of
    a step.

    Args:
        fraction: Above 0 and at most 1. The average has the mean age of a plain mean over this last fraction of the
            updates so far; 1 is the plain mean over all of them.

    Raises:
        TransformerError: `fraction` is out of its range. On `compile`: an optimizer is given, which has to be told itself
            (`average=0.5` of this package's `AdamW` and `SGD`).

    Example:
        >>> str(AverageWeights(0.25))
        'average:0.25'
    """

    fraction: float = 0.5

    name = "average"
    about = "the model has the average of its weights over about the last N of the updates"
    hooks = ("optimizer_options",)
    number = Number("fraction", float, f"a number {_RULE}", lambda value: 0 < value <= 1)
    once = True

    def __post_init__(self) -> None:
        fraction = check_number("fraction", self.fraction, _RULE, lambda value: 0 < value <= 1)
        object.__setattr__(self, "fraction", fraction)

    def optimizer_options(self, model: Model) -> dict[str, Any]:
        return {"average": self.fraction}
