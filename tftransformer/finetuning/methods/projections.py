"""What the methods share that put a trained change into projections: LoRA, DoRA, IA3."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tftransformer.errors import TransformerError
from tftransformer.finetuning.methods.base import Method, Model, fresh_patterns

if TYPE_CHECKING:
    from tftransformer.layers.projection import Projection, ProjectionChange


@dataclass(frozen=True)
class ProjectionMethod(Method):
    """A `ProjectionChange` in each of some projections; all else but the head is frozen.

    The changes lie at `{target}/{name}/...`. A subclass has a field `train`, and says which projections it changes and
    with what.
    """

    if TYPE_CHECKING:
        train: str | Iterable[str] | None  # each subclass puts it where it stands in its own order

    @classmethod
    def part(cls) -> type["ProjectionChange"]:
        """The class of the change."""
        raise NotImplementedError

    def chosen(self, model: Model) -> dict[str, tuple["Projection", dict[str, Any]]]:
        """The projections to change by address, each with the settings of its change."""
        raise NotImplementedError

    def check(self, model: Model) -> None:
        for target, (projection, _) in self.chosen(model).items():
            if projection.delta is not None:
                found = projection.delta.name
                raise TransformerError(
                    f"targets must be without LoRA or another change; {target!r} has {found} already: merge it first"
                )
        fresh_patterns(model, self.train)

    def places(self, model: Model) -> set[str]:
        return {f"{target}/delta" for target in self.chosen(model)}

    def insert(self, model: Model) -> None:
        for projection, settings in self.chosen(model).values():
            self._attach(projection, settings)

    def trains(self, model: Model) -> list[str]:
        return [*self.inserted, *fresh_patterns(model, self.train)]

    @classmethod
    def records(cls, model: Model) -> list[dict[str, Any]]:
        from tftransformer.layers.projection import Projection
        from tftransformer.layers.sublayers import sublayers_of

        groups: dict[str, dict[str, Any]] = {}
        for target, projection in sublayers_of(model, Projection).items():
            if type(projection.delta) is cls.part():
                settings = projection.delta.settings()
                group = groups.setdefault(json.dumps(settings), {"kind": cls.name, **settings, "targets": []})
                group["targets"].append(target)
        return list(groups.values())

    @classmethod
    def restore(cls, model: Model, record: Mapping[str, Any]) -> None:
        from tftransformer.layers.projection import Projection
        from tftransformer.layers.sublayers import sublayers_of

        projections = sublayers_of(model, Projection)
        missing = [target for target in record["targets"] if target not in projections]
        if missing:
            raise TransformerError(f"the targets of {cls.name} must be in the model; {missing[0]!r} is not")
        settings = {key: value for key, value in record.items() if key not in ("kind", "targets")}
        for target in record["targets"]:
            cls._attach(projections[target], settings)

    @classmethod
    def _attach(cls, projection: "Projection", settings: Mapping[str, Any]) -> None:
        from tftransformer.layers.slots import attach

        change = cls.part()(projection.units, **settings, dtype=projection.dtype_policy, name=cls.name)
        attach(projection, "delta", change, (None, projection.kernel.shape[0]))
        change.start(projection)
