"""Bottleneck adapters: a few percent of new weights in each block, and the rest as it was.

"houlsby" puts one behind the attention and one behind the feed-forward layer (Houlsby et al. 2019, arXiv 1902.00751),
"pfeiffer" one behind the feed-forward layer alone (Pfeiffer et al. 2020, arXiv 2005.00247). One encoder can hold
several by name, of which one is in use.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from tftransformer.errors import TransformerError, near_miss
from tftransformer.finetuning.freezing import FreezeSummary, train_only
from tftransformer.finetuning.parts import check_count, fresh_patterns
from tftransformer.finetuning.tracing import model_changed
from tftransformer.layers.adapters import AdapterBank
from tftransformer.layers.decoder_block import DecoderBlock
from tftransformer.layers.encoder_block import EncoderBlock
from tftransformer.layers.parts import parts_of
from tftransformer.layers.slots import attach, detach

PLACES = {
    "houlsby": ("attention_adapters", "feed_forward_adapters"),
    "pfeiffer": ("feed_forward_adapters",),
}
_SLOTS = PLACES["houlsby"]
_NAME = re.compile(r"[A-Za-z0-9_]+")


def add_adapter(
    model: Any,
    name: str = "default",
    *,
    bottleneck_dim: int = 48,
    kind: str = "pfeiffer",
    activation: str = "relu",
    train: str | Iterable[str] | None = None,
) -> FreezeSummary:
    """Put an adapter into every block, use it, and freeze everything else but the head.

    The model computes nearly the same as before until it is trained. The new weights lie at
    `encoder_block_0/feed_forward_adapters/{name}/down/kernel` and so on; a task trains them at the rate of fresh weights.

    Args:
        model: A built Keras model or task with this package's blocks.
        name: Letters, digits and underscores.
        bottleneck_dim: Width inside; the papers take 1/16 of the encoder's for most tasks.
        kind: "houlsby" (two a block) or "pfeiffer" (one).
        activation: Inside; any of Keras's.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Returns:
        What is frozen now.

    Raises:
        TransformerError: There is one of that name, an unknown kind or activation, a width below 1, a model without blocks. Nothing
            was changed then.

    Example:
        >>> add_adapter(classifier, "reviews", bottleneck_dim=24)  # doctest: +SKIP
        >>> set_adapter(classifier, None)  # doctest: +SKIP
    """
    if kind not in PLACES:
        raise TransformerError(
            f"kind must be one of {', '.join(PLACES)}; got {kind!r}{near_miss(kind, PLACES)}"
        )
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise TransformerError(f"name must be letters, digits and underscores; got {name!r}")
    check_count("bottleneck_dim", bottleneck_dim)
    try:
        keras.activations.get(activation)
    except (TypeError, ValueError):
        raise TransformerError(f"activation must be one of Keras's; got {activation!r}") from None
    if name in adapter_names(model):
        raise TransformerError(f"name must be new; the model has an adapter {name!r} already")
    if not _blocks(model):
        raise TransformerError("model must have encoder or decoder blocks for adapters; got one without any")
    kept = fresh_patterns(model, train)
    _attach(model, {"name": name, "bottleneck_dim": bottleneck_dim, "places": kind, "activation": activation})
    set_adapter(model, name)
    own = f".*_adapters/{name}/.*"
    return train_only(model, [own, *kept])


def set_adapter(model: Any, name: str | None) -> None:
    """Use the adapter of this name in every block that has it, or with None no adapter at all.

    Raises:
        TransformerError: There is none of that name.
    """
    names = adapter_names(model)
    if name is not None and name not in names:
        raise TransformerError(
            f"name must be an adapter of the model ({', '.join(names) or 'it has none'}); got {name!r}"
            f"{near_miss(name, names)}"
        )
    for bank in parts_of(model, AdapterBank).values():
        bank.active = name if name in bank.parts else None
    model_changed(model)


def remove_adapter(model: Any, name: str) -> None:
    """Take an adapter and its weights out of every block.

    Raises:
        TransformerError: There is none of that name.
    """
    if name not in (names := adapter_names(model)):
        raise TransformerError(
            f"name must be an adapter of the model ({', '.join(names) or 'it has none'}); got {name!r}"
            f"{near_miss(str(name), names)}"
        )
    for block in _blocks(model).values():
        for slot, bank in _banks(block):
            if name in bank.parts:
                bank.remove(name)
            if not bank.parts:
                detach(block, slot)
    model_changed(model)


def adapter_names(model: Any) -> list[str]:
    """The names of a model's adapters, in the order in which they were added."""
    return list(dict.fromkeys(name for bank in parts_of(model, AdapterBank).values() for name in bank.parts))


def describe_adapters(model: Any) -> list[dict[str, Any]]:
    """A model's adapters as JSON values that `replay_adapters` takes."""
    found: dict[str, dict[str, Any]] = {}
    for block in _blocks(model).values():
        for slot, bank in _banks(block):
            for name, part in bank.parts.items():
                config = part.get_config()
                entry = found.setdefault(
                    name,
                    {
                        "kind": "adapter",
                        "name": name,
                        "places": "pfeiffer",
                        "active": bank.active == name,
                        **{key: config[key] for key in ("bottleneck_dim", "activation")},
                    },
                )
                if slot == "attention_adapters":
                    entry["places"] = "houlsby"
    return list(found.values())


def replay_adapters(model: Any, records: Iterable[dict[str, Any]]) -> None:
    """Put in what `describe_adapters` said; weights and what trains are left to others."""
    for record in records:
        _attach(model, record)
        if record.get("active"):
            set_adapter(model, record["name"])


def _attach(model: Any, record: dict[str, Any]) -> None:
    for block in _blocks(model).values():
        for slot in PLACES[record["places"]]:
            if getattr(block, slot) is None:
                width = (None, None, block.feed_forward.output_projection.units)
                attach(block, slot, AdapterBank(dtype=block.dtype_policy, name=slot), width)
            getattr(block, slot).add(record["name"], record["bottleneck_dim"], record["activation"])


def _blocks(model: Any) -> dict[str, Any]:
    return parts_of(model, (EncoderBlock, DecoderBlock))


def _banks(block: Any) -> Iterator[tuple[str, AdapterBank]]:
    for slot in _SLOTS:
        if getattr(block, slot) is not None:
            yield slot, getattr(block, slot)
