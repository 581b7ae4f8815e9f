"""Feature extraction: only what is not pretrained trains."""

from dataclasses import dataclass

from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, fresh_patterns


@dataclass(frozen=True)
class HeadOnly(Method):
    """The head trains, and with it whatever else of a task is not pretrained; the encoder is a fixed feature extractor.

    Example:
        >>> str(HeadOnly())
        'head'
    """

    name = "head"
    about = "only what is not pretrained trains"
    rate = 1e-3

    def trains(self, model: Model) -> list[str]:
        return fresh_patterns(model, None)
