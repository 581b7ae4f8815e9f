"""A source seen through changes: other names, other numbers of rows; nothing is read before it is asked for."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from tftransformer.checkpoints.sources import Source


class Resize(NamedTuple):
    """A tensor with another number of rows: how many, and how they are made from the stored ones."""

    rows: int
    make: Callable[[np.ndarray], np.ndarray]


class SourceView:
    """Some tensors of a source, under other names and in other lengths.

    Args:
        source: The tensors as they are.
        origins: The source's name of each tensor, by its name here.
        resized: Which of them have another number of rows, by their name here.

    Example:
        >>> from tftransformer.checkpoints.sources import ArraySource
        >>> source = ArraySource({"a": np.ones((2, 3)), "b": np.zeros(4)})
        >>> view = SourceView(source, {"c": "a"}, {"c": Resize(1, lambda table: table[:1])})
        >>> view.keys(), view.shape("c"), view.get("c").shape
        (('c',), (1, 3), (1, 3))
    """

    def __init__(self, source: Source, origins: Mapping[str, str], resized: Mapping[str, Resize]) -> None:
        self.name = source.name
        self._source = source
        self._origins = dict(origins)
        self._resized = dict(resized)

    def keys(self) -> tuple[str, ...]:
        return tuple(self._origins)

    def shape(self, key: str) -> tuple[int, ...]:
        shape = tuple(self._source.shape(self._origins[key]))
        return (self._resized[key].rows, *shape[1:]) if key in self._resized else shape

    def dtype(self, key: str) -> str:
        return self._source.dtype(self._origins[key])

    def get(self, key: str) -> np.ndarray:
        value = self._source.get(self._origins[key])
        return self._resized[key].make(value) if key in self._resized else value
