"""Shared code of the methods that put a trained part into layers named by patterns: LoRA, DoRA, IA3, prefixes."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tftransformer.errors import TransformerError
from tftransformer.finetuning.arguments import Model
from tftransformer.finetuning.methods.base import Method, fresh_patterns


@dataclass(frozen=True)
class TargetedMethod(Method):
    """A new part in the same slot of each of some layers; all else but the head is frozen.

    The weights of the parts lie at `{target}/{name}/...`. A subclass has a field `train`, and says which layers it
    changes and with what.

    Attributes:
        slot: Attribute of the layers that holds the part.
    """

    slot: ClassVar[str]
    if TYPE_CHECKING:
        train: str | Iterable[str] | None  # each subclass puts it where it stands in its own order

    @classmethod
    def layer(cls) -> type:
        """The class of the layers."""
        raise NotImplementedError

    @classmethod
    def part(cls) -> Any:
        """The class of the part, whose `settings` say what `attach` needs to make it anew."""
        raise NotImplementedError

    @classmethod
    def attach(cls, layer: Any, settings: Mapping[str, Any]) -> None:
        """Put a new part into a layer."""
        raise NotImplementedError

    def chosen(self, model: Model) -> dict[str, tuple[Any, dict[str, Any]]]:
        """The layers to change by address, each with the settings of its part."""
        raise NotImplementedError

    def check(self, model: Model) -> None:
        for target, (layer, _) in self.chosen(model).items():
            if (part := getattr(layer, self.slot)) is not None:
                raise TransformerError(
                    f"targets must be unchanged; {target!r} has {part.name} already: merge or remove it first"
                )
        fresh_patterns(model, self.train)

    def places(self, model: Model) -> set[str]:
        return {f"{target}/{self.slot}" for target in self.chosen(model)}

    def insert(self, model: Model) -> None:
        for layer, settings in self.chosen(model).values():
            self.attach(layer, settings)

    def trains(self, model: Model) -> list[str]:
        return [*self.inserted, *fresh_patterns(model, self.train)]

    @classmethod
    def modifications(cls, model: Model) -> list[dict[str, Any]]:
        groups: dict[str, dict[str, Any]] = {}
        for target, layer in cls.layers(model).items():
            part = getattr(layer, cls.slot)
            if type(part) is cls.part():
                settings = part.settings()
                group = groups.setdefault(json.dumps(settings), {"kind": cls.name, **settings, "targets": []})
                group["targets"].append(target)
        return list(groups.values())

    @classmethod
    def restore(cls, model: Model, modification: Mapping[str, Any]) -> None:
        layers = cls.layers(model)
        missing = [target for target in modification["targets"] if target not in layers]
        if missing:
            raise TransformerError(f"the targets of {cls.name} must be in the model; {missing[0]!r} is not")
        settings = {key: value for key, value in modification.items() if key not in ("kind", "targets")}
        for target in modification["targets"]:
            cls.attach(layers[target], settings)

    @classmethod
    def layers(cls, model: Model) -> dict[str, Any]:
        """All layers of a model that could be changed, by address."""
        from tftransformer.layers.sublayers import sublayers_of

        return sublayers_of(model, cls.layer())


@dataclass(frozen=True)
class ProjectionMethod(TargetedMethod):
    """A `ProjectionDelta` in each of some projections."""

    slot = "delta"

    @classmethod
    def layer(cls) -> type:
        from tftransformer.layers.projection import Projection

        return Projection

    @classmethod
    def attach(cls, layer: Any, settings: Mapping[str, Any]) -> None:
        from tftransformer.layers.slots import attach

        change = cls.part()(layer.units, **settings, dtype=layer.dtype_policy, name=cls.name)
        attach(layer, cls.slot, change, (None, layer.kernel.shape[0]))
        change.start(layer)
