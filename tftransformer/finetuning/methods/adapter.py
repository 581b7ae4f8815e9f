"""Bottleneck adapters: a few percent of new weights in each block; the pretrained ones are frozen.

"houlsby" puts one behind the attention and one behind the feed-forward layer (Houlsby et al. 2019, arXiv 1902.00751),
"pfeiffer" one behind the feed-forward layer alone (Pfeiffer et al. 2020, arXiv 2005.00247). One encoder can hold
several by name, of which one is in use.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tftransformer.errors import TransformerError, check_choice, check_whole, near_miss
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, Number, fresh_patterns, hold_patterns

PLACES = {"houlsby": ("attention_adapters", "feed_forward_adapters"), "pfeiffer": ("feed_forward_adapters",)}
_SLOTS = PLACES["houlsby"]
_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class Adapter(Method):
    """Put an adapter into every block, use it, and freeze everything else but the head.

    The model computes nearly the same as before until it is trained. The new weights lie at
    `encoder_block_0/feed_forward_adapters/{adapter}/down/kernel` and so on; a task trains them at the rate of fresh weights.

    Args:
        bottleneck_dim: Inner width; the papers take 1/16 of the encoder's for most tasks.
        adapter: Name of letters, digits and underscores, for `set_adapter` and `remove_adapter`.
        kind: "houlsby" (two adapters a block) or "pfeiffer" (one).
        activation: Inner activation; any of Keras's.
        train: Patterns of what else trains. None: whatever of a task is not pretrained, and the layer `head`.

    Raises:
        TransformerError: An unknown kind, a width below 1, a wrong name. On `apply`: an unknown activation, a model
            without blocks, or with an adapter of that name.

    Example:
        >>> str(Adapter(24)), Adapter(24, "reviews").adapter
        ('adapter:24', 'reviews')
    """

    bottleneck_dim: int = 48
    adapter: str = "default"
    kind: str = "pfeiffer"
    activation: str = "relu"
    train: str | Iterable[str] | None = None

    name = "adapter"
    about = "a bottleneck of width N in each block"
    number = Number("bottleneck_dim")
    rate = 1e-3
    inserted = (r".*_adapters/\w+/.*",)

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, PLACES)
        if not isinstance(self.adapter, str) or not _NAME.fullmatch(self.adapter):
            raise TransformerError(f"adapter must be letters, digits and underscores; got {self.adapter!r}")
        check_whole("bottleneck_dim", self.bottleneck_dim)
        hold_patterns(self, "train")

    def check(self, model: Model) -> None:
        import keras

        try:
            keras.activations.get(self.activation)
        except (TypeError, ValueError):
            raise TransformerError(f"activation must be one of Keras's; got {self.activation!r}") from None
        if self.adapter in adapter_names(model):
            raise TransformerError(f"adapter must be a new name; the model has {self.adapter!r} already")
        if not _blocks(model):
            raise TransformerError("model must have encoder or decoder blocks for adapters; got one without any")
        fresh_patterns(model, self.train)

    def places(self, model: Model) -> set[str]:
        # One of several is in use, so that a list of two would train one in vain.
        return {"adapters"}

    def insert(self, model: Model) -> None:
        settings = {"bottleneck_dim": self.bottleneck_dim, "activation": self.activation}
        _attach(model, {"name": self.adapter, "places": self.kind, **settings})
        set_adapter(model, self.adapter)

    def trains(self, model: Model) -> list[str]:
        return [f".*_adapters/{self.adapter}/.*", *fresh_patterns(model, self.train)]

    @classmethod
    def modifications(cls, model: Model) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for _, slot, bank in _banks(model):
            for name, settings in bank.get_config()["adapters"].items():
                about = {
                    "kind": cls.name,
                    "name": name,
                    "places": "pfeiffer",
                    "active": bank.active == name,
                    **settings,
                }
                modification = found.setdefault(name, about)
                if slot == "attention_adapters":
                    modification["places"] = "houlsby"
        return list(found.values())

    @classmethod
    def restore(cls, model: Model, modification: Mapping[str, Any]) -> None:
        _attach(model, modification)
        if modification.get("active"):
            set_adapter(model, modification["name"])


def set_adapter(model: Model, name: str | None) -> None:
    """Use the adapter of this name in every block that has it, or with None no adapter at all.

    Raises:
        TransformerError: There is none of that name.
    """
    from tftransformer.finetuning.tracing import model_changed

    if name is not None:
        _check_known(model, name)
    for _, _, bank in _banks(model):
        bank.active = name if name in bank.parts else None
    model_changed(model)


def remove_adapter(model: Model, name: str) -> None:
    """Take an adapter and its weights out of every block.

    Raises:
        TransformerError: There is none of that name.
    """
    from tftransformer.finetuning.tracing import model_changed
    from tftransformer.layers.slots import detach

    _check_known(model, name)
    for block, slot, bank in list(_banks(model)):
        if name in bank.parts:
            bank.remove(name)
        if not bank.parts:
            detach(block, slot)
    model_changed(model)


def adapter_names(model: Model) -> list[str]:
    """The names of a model's adapters, in the order in which they were added."""
    return list(dict.fromkeys(name for _, _, bank in _banks(model) for name in bank.parts))


def _check_known(model: Model, name: Any) -> None:
    names = adapter_names(model)
    if name not in names:
        raise TransformerError(
            f"name must be an adapter of the model ({', '.join(names) or 'it has none'}); got {name!r}"
            f"{near_miss(name, names)}"
        )


def _attach(model: Model, modification: Mapping[str, Any]) -> None:
    from tftransformer.layers.adapters import AdapterBank
    from tftransformer.layers.slots import attach

    for block in _blocks(model).values():
        for slot in PLACES[modification["places"]]:
            if getattr(block, slot) is None:
                width = (None, None, block.feed_forward.output_projection.units)
                attach(block, slot, AdapterBank(dtype=block.dtype_policy, name=slot), width)
            getattr(block, slot).add(modification["name"], modification["bottleneck_dim"], modification["activation"])


def _blocks(model: Model) -> dict[str, Any]:
    from tftransformer.layers.encoder_block import ResidualBlock
    from tftransformer.layers.sublayers import sublayers_of

    return sublayers_of(model, ResidualBlock)


def _banks(model: Model) -> Iterator[tuple[Any, str, Any]]:
    """Each block with the name of a place in it and the adapters there."""
    for block in _blocks(model).values():
        # The last place has all of them, in the order in which they were added.
        for slot in reversed(_SLOTS):
            if (bank := getattr(block, slot)) is not None:
                yield block, slot, bank
