"""Tokens that follow other tokens: the objective of what writes texts."""

from collections.abc import Callable
from typing import Any

from tftransformer.data.fields import Field
from tftransformer.errors import TransformerError
from tftransformer.evaluation.keras_metrics import Perplexity
from tftransformer.finetuning.losses import SmoothedCrossEntropy
from tftransformer.objectives.objective import Objective


class NextToken(Objective):
    """Logits (B, T, V) of the token at each place; every real token counts alike.

    Args:
        encode: Function from target texts to their field; None where targets are taken from the texts themselves.
        stream_encoder: The same for a batch of a dataset, in TensorFlow operations.

    Example:
        >>> NextToken().compiled(None, None, None, smoothing=0.1)["loss"].reduction
        'mean_with_sample_weight'
    """

    def __init__(self, encode: Callable[[Any], Field] | None = None, stream_encoder: Callable | None = None) -> None:
        self._encode, self._stream_encoder = encode, stream_encoder

    def encode(self, targets: Any) -> Field:
        if self._encode is None:
            raise TransformerError("targets must be left out: the next token of each text is its target")
        return self._encode(targets)

    def stream_encoder(self) -> Callable | None:
        return self._stream_encoder

    def compiled(self, loss: Any, metrics: Any, weighted_metrics: Any, smoothing: float) -> dict[str, Any]:
        if loss is None:
            loss = SmoothedCrossEntropy(smoothing, reduction="mean_with_sample_weight")
        if weighted_metrics is None and metrics is None:
            weighted_metrics = [Perplexity()]
        return {"loss": loss, "metrics": metrics, "weighted_metrics": weighted_metrics}
