"""Training: strategies that spread a step over devices, and the guard that stops at a loss of NaN.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

import importlib
from typing import Any

_HOMES = {
    "STRATEGIES": "strategies",
    "build_strategy": "strategies",
    "StopOnNonFinite": "guards",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
