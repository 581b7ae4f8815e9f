"""Prefix tuning: train keys and values that stand in front of the text's own in every attention layer.

Li & Liang 2021 (arXiv 2101.00190); for classification, without their extra network, Liu et al. 2021 (arXiv 2110.07602).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError, check_whole
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Number, hold_patterns, selected_parts
from tftransformer.finetuning.methods.targeted import TargetedMethod

TARGETS = r"(en|de)coder_block_\d+/(self_)?attention"


@dataclass(frozen=True)
class Prefix(TargetedMethod):
    """Give attention layers a trained prefix; everything else but the head is frozen.

    Args:
        length: P, the number of positions of the prefix; the papers take 10 to 100. Every query sees them all.
        targets: Regular expressions of the addresses of attention layers, matched from end to end.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Raises:
        TransformerError: A length below 1. On `apply`: a pattern that matches nothing, a target with a prefix.

    Example:
        >>> str(Prefix(length=20))
        'prefix:20'
    """

    length: int = 10
    targets: str | Iterable[str] = TARGETS
    train: str | Iterable[str] | None = None

    name = "prefix"
    about = "N trained positions in front of each attention"
    number = Number("length")
    rate = 1e-3
    inserted = (".*/prefix/(keys|values)",)
    slot = "prefix"

    def __post_init__(self) -> None:
        check_whole("length", self.length)
        hold_patterns(self, "targets", "train")

    @classmethod
    def layer(cls) -> type:
        from tftransformer.layers.attention import MultiHeadAttention

        return MultiHeadAttention

    @classmethod
    def part(cls) -> type:
        from tftransformer.layers.attention_prefix import AttentionPrefix

        return AttentionPrefix

    @classmethod
    def attach(cls, layer: Any, settings: Mapping[str, Any]) -> None:
        from tftransformer.layers.slots import attach

        heads = {"num_heads": layer.num_key_value_heads, "head_dim": layer.head_dim}
        attach(layer, cls.slot, cls.part()(**settings, **heads, dtype=layer.dtype_policy, name=cls.name), ())

    def chosen(self, model: Model) -> dict[str, tuple[Any, dict[str, Any]]]:
        parts = selected_parts(model, self.layer(), self.targets, "targets")
        return {target: (part, {"length": self.length}) for target, part in parts.items()}


def remove_prefix(model: Model) -> None:
    """Take all prefixes and their weights out.

    Raises:
        TransformerError: There are none.
    """
    from tftransformer.finetuning.tracing import model_changed
    from tftransformer.layers.slots import detach

    found = [part for part in Prefix.layers(model).values() if part.prefix is not None]
    if not found:
        raise TransformerError("model must have a prefix; got one without")
    for part in found:
        detach(part, "prefix")
    model_changed(model)
