"""Freezing: the embeddings and the first blocks stay as they are (Lee et al. 2019, arXiv 1911.03090)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, Number, hold_patterns


@dataclass(frozen=True)
class Freeze(Method):
    """Stop weights from training. Weights frozen before stay frozen.

    Frozen weights get no gradient, no optimizer slots and no decay. A layer of this package that is frozen as a whole
    also runs without dropout during training, and where the frozen layers lie at the bottom `fit` runs them once and
    trains from their outputs.

    Args:
        layers: N: the layers `encoder_block_0` to `encoder_block_{N-1}` and, if `embeddings`, the layer `embeddings`; of a
            model without an encoder `decoder_block_0` and so on, and `decoder_embeddings`, whose table may also be the
            output's. Blocks called `extra_block_{i}` do not count.
        patterns: Regular expressions that have to match the name of a layer (`pooler`), the address of a part
            of it (`encoder_block_3/attention`) or of a weight (`encoder_block_3/attention/query/bias`) from end to
            end.
        embeddings: Whether `layers` includes the embeddings; they hold most of a small model's parameters and lie
            below every block.

    Raises:
        TransformerError: Neither `layers` nor `patterns` is given. On `apply`: `layers` is no whole number from 0 to
            the number of blocks; a pattern is malformed or matches nothing; the model has no weights yet.

    Example:
        >>> str(Freeze(layers=8)), Freeze(patterns="pooler/.*").layers
        ('freeze:8', None)
    """

    layers: int | None = None
    patterns: str | Iterable[str] | None = None
    embeddings: bool = True

    name = "freeze"
    about = "the embeddings and the first N blocks are frozen"
    number = Number("layers", int, "an integer of at least 0", lambda value: value >= 0, default=8)

    def __post_init__(self) -> None:
        if self.layers is None and self.patterns is None:
            raise TransformerError("Freeze needs layers, the number of blocks to freeze, or patterns; got none")
        hold_patterns(self, "patterns")

    def check(self, model: Model) -> None:
        self.freezes(model)

    def freezes(self, model: Model) -> list[str]:
        from tftransformer.finetuning.freezing import chosen_to_freeze

        return chosen_to_freeze(model, self.layers, self.patterns, self.embeddings)

    def learning_rate(self, hparams: Mapping[str, Any]) -> float | None:
        return hparams.get("frozen_learning_rate") if self.layers else None
