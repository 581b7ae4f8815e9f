"""Packages whose names load on first use."""

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def attach(package: str, homes: Mapping[str, str]) -> tuple[Callable, Callable, list[str]]:
    """A package's `__getattr__`, `__dir__` and `__all__` (PEP 562), so that importing it loads nothing heavy.

    Args:
        package: `__name__` of the package.
        homes: The submodule in which each public name is defined; "" where the name is a submodule itself.

    Example:
        >>> __getattr__, __dir__, __all__ = attach("tftransformer.tasks", {"TextClassifier": "text_classifier"})
        >>> __getattr__("TextClassifer")
        Traceback (most recent call last):
        ...
        AttributeError: module 'tftransformer.tasks' has no attribute 'TextClassifer'
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{homes[name] or name}")
        return getattr(module, name) if homes[name] else module

    return load, lambda: sorted(homes), sorted(homes)
