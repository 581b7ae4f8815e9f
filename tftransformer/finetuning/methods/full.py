"""Full fine-tuning: everything trains."""

from dataclasses import dataclass

from tftransformer.finetuning.methods.base import Method


@dataclass(frozen=True)
class Full(Method):
    """Everything trains that is not frozen already (Devlin et al. 2018, arXiv 1810.04805), at one rate and in one stage.

    Applied to a task it takes back what `LayerwiseRates` and `GradualUnfreezing` said before; `unfreeze` thaws weights.

    Example:
        >>> str(Full())
        'full'
    """

    name = "full"
    alone = True
    about = "everything trains"
