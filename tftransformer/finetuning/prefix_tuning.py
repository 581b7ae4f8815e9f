"""Prefix tuning: train keys and values that stand in front of the text's own in every attention layer.

Li & Liang 2021 (arXiv 2101.00190); for classification, without their extra network, Liu et al. 2021 (arXiv 2110.07602).
"""

from collections.abc import Iterable
from typing import Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.freezing import FreezeSummary, train_only
from tftransformer.finetuning.parts import check_count, fresh_patterns, selected_parts
from tftransformer.finetuning.tracing import model_changed
from tftransformer.layers.attention import MultiHeadAttention
from tftransformer.layers.attention_prefix import AttentionPrefix
from tftransformer.layers.parts import parts_of
from tftransformer.layers.slots import attach, detach

TARGETS = r"(en|de)coder_block_\d+/(self_)?attention"
_OWN = ".*/prefix/(keys|values)"


def add_prefix(
    model: Any,
    length: int = 10,
    *,
    targets: str | Iterable[str] = TARGETS,
    train: str | Iterable[str] | None = None,
) -> FreezeSummary:
    """Give attention layers a trained prefix, and freeze everything else but the head.

    Args:
        model: A built Keras model or task with this package's blocks.
        length: P, positions of the prefix; the papers take 10 to 100. Every query sees them all.
        targets: Regular expressions of the addresses of attention layers, matched from end to end.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Returns:
        What is frozen now.

    Raises:
        TransformerError: A length below 1, a pattern that matches nothing, a target with a prefix. Nothing was
            changed then.

    Example:
        >>> add_prefix(classifier, length=10)  # doctest: +SKIP
    """
    chosen = selected_parts(model, MultiHeadAttention, targets, "targets")
    check_count("length", length)
    taken = next((name for name, part in chosen.items() if part.prefix is not None), None)
    if taken is not None:
        raise TransformerError(f"targets must be without a prefix; {taken!r} has one already")
    kept = fresh_patterns(model, train)
    _attach(chosen.values(), length)
    return train_only(model, [_OWN, *kept])


def remove_prefix(model: Any) -> None:
    """Take all prefixes and their weights out.

    Raises:
        TransformerError: There are none.
    """
    found = [part for part in parts_of(model, MultiHeadAttention).values() if part.prefix is not None]
    if not found:
        raise TransformerError("model must have a prefix; got one without")
    for part in found:
        detach(part, "prefix")
    model_changed(model)


def describe_prefixes(model: Any) -> list[dict[str, Any]]:
    """A model's prefixes as JSON values that `replay_prefixes` takes."""
    groups: dict[int, dict[str, Any]] = {}
    for name, part in parts_of(model, MultiHeadAttention).items():
        if part.prefix is not None:
            length = part.prefix.length
            group = groups.setdefault(length, {"kind": "prefix", "length": length, "targets": []})
            group["targets"].append(name)
    return list(groups.values())


def replay_prefixes(model: Any, records: Iterable[dict[str, Any]]) -> None:
    """Put in what `describe_prefixes` said; weights and what trains are left to others.

    Raises:
        TransformerError: A target is not in the model.
    """
    attentions = parts_of(model, MultiHeadAttention)
    for record in records:
        missing = [name for name in record["targets"] if name not in attentions]
        if missing:
            raise TransformerError(f"a prefix's targets must be in the model; {missing[0]!r} is not")
        _attach([attentions[name] for name in record["targets"]], record["length"])


def _attach(attentions: Iterable[MultiHeadAttention], length: int) -> None:
    for part in attentions:
        prefix = AttentionPrefix(
            length, part.num_key_value_heads, part.head_dim, dtype=part.dtype_policy, name="prefix"
        )
        attach(part, "prefix", prefix, ())
