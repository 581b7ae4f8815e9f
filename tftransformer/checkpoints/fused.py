"""Tensors that hold several of ours side by side, such as GPT-2's queries, keys and values: taken apart, and put together."""

from collections.abc import Mapping

import numpy as np

from tftransformer.checkpoints.rules import Table
from tftransformer.checkpoints.sources import Source


class UnfusedSource:
    """A source in which every part of a fused tensor is a tensor: "c_attn.weight[0]" is the first of "c_attn.weight".

    A tensor whose last axis cannot be divided stays whole, and is then reported as one that has no place.

    Args:
        source: The tensors as they are stored.
        table: Names of the fused ones.

    Example:
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> from tftransformer.models.families.names.tables import Fused
        >>> table = Table("theirs", (), fused=(Fused("h.{i}.qkv", 3),))
        >>> source = UnfusedSource(ArraySource({"h.0.qkv": np.arange(6)}), table)
        >>> source.keys(), source.get("h.0.qkv[1]").tolist()
        (('h.0.qkv[0]', 'h.0.qkv[1]', 'h.0.qkv[2]'), [2, 3])
    """

    def __init__(self, source: Source, table: Table) -> None:
        self.name = source.name
        self._source = source
        self._parts: dict[str, tuple[str, int, int]] = {}
        for key in source.keys():
            count = table.parts(key)
            shape = source.shape(key) if count > 1 else ()
            if shape and shape[-1] % count == 0:
                self._parts.update((part_name(key, n), (key, n, count)) for n in range(count))
            else:
                self._parts[key] = (key, 0, 1)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._parts)

    def shape(self, key: str) -> tuple[int, ...]:
        whole, _, count = self._parts[key]
        shape = tuple(self._source.shape(whole))
        return shape if count == 1 else (*shape[:-1], shape[-1] // count)

    def dtype(self, key: str) -> str:
        return self._source.dtype(self._parts[key][0])

    def get(self, key: str) -> np.ndarray:
        whole, number, count = self._parts[key]
        values = self._source.get(whole)
        return values if count == 1 else np.split(values, count, axis=-1)[number]


def unfused(source: Source, table: Table) -> Source:
    """The source as the rules of a table name its tensors."""
    return UnfusedSource(source, table) if table.fused else source


def fuse(tensors: Mapping[str, np.ndarray], table: Table) -> dict[str, np.ndarray]:
    """Parts put together again: the inverse of `unfused`.

    Args:
        tensors: Arrays by the names of the rules.
        table: Names of the fused ones.

    Example:
        >>> from tftransformer.models.families.names.tables import Fused
        >>> table = Table("theirs", (), fused=(Fused("qkv", 2),))
        >>> {name: value.tolist() for name, value in fuse({"qkv[0]": np.zeros(1), "qkv[1]": np.ones(1)}, table).items()}
        {'qkv': [0.0, 1.0]}
    """
    found: dict[str, np.ndarray] = {}
    for name, value in tensors.items():
        whole = name.partition("[")[0]
        count = table.parts(whole)
        if whole == name or count == 1:
            found[name] = value
        elif whole not in found:
            found[whole] = np.concatenate([tensors[part_name(whole, n)] for n in range(count)], axis=-1)
    return found


def part_name(key: str, number: int) -> str:
    """Return the rules' name of part `number` of a fused tensor."""
    return f"{key}[{number}]"
