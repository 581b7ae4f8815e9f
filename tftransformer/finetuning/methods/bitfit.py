"""BitFit: only biases train (Ben Zaken et al. 2021, arXiv 2106.10199)."""

from dataclasses import dataclass

from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, fresh_patterns


@dataclass(frozen=True)
class BitFit(Method):
    """The biases train, those of norms too, and whatever of a task is not pretrained.

    Example:
        >>> str(BitFit())
        'bitfit'
    """

    name = "bitfit"
    about = "only biases train"
    rate = 1e-3

    def trains(self, model: Model) -> list[str]:
        return [r".*/(bias|beta)", *fresh_patterns(model, None)]
