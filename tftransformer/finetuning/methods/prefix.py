"""Prefix tuning: train keys and values that stand in front of the text's own in every attention layer.

Li & Liang 2021 (arXiv 2101.00190); for classification, without their extra network, Liu et al. 2021 (arXiv 2110.07602).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import check_count
from tftransformer.finetuning.methods.base import Method, Model, Number, fresh_patterns, hold_patterns, selected_parts

TARGETS = r"(en|de)coder_block_\d+/(self_)?attention"


@dataclass(frozen=True)
class Prefix(Method):
    """Give attention layers a trained prefix; everything else but the head is frozen.

    Args:
        length: P, positions of the prefix; the papers take 10 to 100. Every query sees them all.
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

    def __post_init__(self) -> None:
        check_count("length", self.length)
        hold_patterns(self, "targets", "train")

    def check(self, model: Model) -> None:
        chosen = self._chosen(model)
        if taken := next((name for name, part in chosen.items() if part.prefix is not None), None):
            raise TransformerError(f"targets must be without a prefix; {taken!r} has one already")
        fresh_patterns(model, self.train)

    def places(self, model: Model) -> set[str]:
        return {f"{name}/prefix" for name in self._chosen(model)}

    def insert(self, model: Model) -> None:
        self._attach(self._chosen(model).values(), self.length)

    def trains(self, model: Model) -> list[str]:
        return [*self.inserted, *fresh_patterns(model, self.train)]

    @classmethod
    def records(cls, model: Model) -> list[dict[str, Any]]:
        groups: dict[int, dict[str, Any]] = {}
        for name, part in cls._attentions(model).items():
            if part.prefix is not None:
                length = part.prefix.length
                group = groups.setdefault(length, {"kind": cls.name, "length": length, "targets": []})
                group["targets"].append(name)
        return list(groups.values())

    @classmethod
    def restore(cls, model: Model, record: Mapping[str, Any]) -> None:
        attentions = cls._attentions(model)
        missing = [name for name in record["targets"] if name not in attentions]
        if missing:
            raise TransformerError(f"a prefix's targets must be in the model; {missing[0]!r} is not")
        cls._attach([attentions[name] for name in record["targets"]], record["length"])

    def _chosen(self, model: Model) -> dict[str, Any]:
        from tftransformer.layers.attention import MultiHeadAttention

        return selected_parts(model, MultiHeadAttention, self.targets, "targets")

    @staticmethod
    def _attentions(model: Model) -> dict[str, Any]:
        from tftransformer.layers.attention import MultiHeadAttention
        from tftransformer.layers.sublayers import sublayers_of

        return sublayers_of(model, MultiHeadAttention)

    @staticmethod
    def _attach(attentions: Iterable[Any], length: int) -> None:
        from tftransformer.layers.attention_prefix import AttentionPrefix
        from tftransformer.layers.slots import attach

        for part in attentions:
            prefix = AttentionPrefix(
                length, part.num_key_value_heads, part.head_dim, dtype=part.dtype_policy, name="prefix"
            )
            attach(part, "prefix", prefix, ())


def remove_prefix(model: Model) -> None:
    """Take all prefixes and their weights out.

    Raises:
        TransformerError: There are none.
    """
    from tftransformer.finetuning.tracing import model_changed
    from tftransformer.layers.slots import detach

    found = [part for part in Prefix._attentions(model).values() if part.prefix is not None]
    if not found:
        raise TransformerError("model must have a prefix; got one without")
    for part in found:
        detach(part, "prefix")
    model_changed(model)
