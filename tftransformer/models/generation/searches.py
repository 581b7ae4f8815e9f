"""Searches by name, as flags and saved folders have them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tftransformer.errors import TransformerError, check_choice, near_miss
from tftransformer.models.generation.beams import BeamSearch
from tftransformer.models.generation.sampling import Greedy, Sampling

SEARCHES: dict[str, Any] = {"greedy": Greedy, "sampling": Sampling, "beams": BeamSearch}


def search_to_config(search: Any) -> dict[str, Any]:
    """A search as JSON values.

    Raises:
        TransformerError: It is none of `SEARCHES`.

    Example:
        >>> search_to_config(BeamSearch(5))["num_beams"]
        5
    """
    for name, kind in SEARCHES.items():
        if type(search) is kind:
            return {"kind": name, **dataclasses.asdict(search)}
    raise TransformerError(f"search must be one of {', '.join(k.__name__ for k in SEARCHES.values())}; got {search!r}")


def search_from_config(config: Mapping[str, Any]) -> Any:
    """The inverse of `search_to_config`.

    Raises:
        TransformerError: The kind or a setting is unknown, or a value out of its range.
    """
    settings = dict(config)
    check_choice("search", kind := settings.pop("kind", None), SEARCHES)
    known = [field.name for field in dataclasses.fields(SEARCHES[kind])]
    for name in settings:
        if name not in known:
            raise TransformerError(f"search {kind} has no setting {name!r}{near_miss(name, known)}")
    return SEARCHES[kind](**settings)
