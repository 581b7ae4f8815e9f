"""Full fine-tuning: everything trains."""

from dataclasses import dataclass

from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method


@dataclass(frozen=True)
class Full(Method):
    """Train everything (Devlin et al. 2018, arXiv:1810.04805), at one rate and in one stage.

    Weights that were frozen before are unfrozen. A task forgets the methods that `compile` and `fit` read, such as
    `LayerwiseRates` and `GradualUnfreezing`; layers that a method put in stay, and train.

    Example:
        >>> str(Full())
        'full'
    """

    name = "full"
    alone = True
    about = "everything trains"

    def trains(self, model: Model) -> list[str]:
        return [".*"]
