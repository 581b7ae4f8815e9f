"""Tasks: an encoder, a head, preprocessing and labels in one `keras.Model` over raw text."""

import importlib
from typing import Any

_HOMES = {"TextTask": "base", "TextClassifier": "text_classifier"}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
