"""Pretrained weights: finding, checking, loading and saving them."""

import importlib
from typing import Any

_HOME = {
    "ArraySource": "sources",
    "KerasHubSource": "sources",
    "LoadSummary": "assign",
    "Preset": "preset",
    "SafetensorsSource": "sources",
    "Source": "sources",
    "Table": "rules",
    "embedded_presets": "presets",
    "load_preset": "presets",
    "save_preset": "own",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
