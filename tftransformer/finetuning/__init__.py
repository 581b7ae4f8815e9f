"""Fine-tuning: freezing, optimizers with a rate per weight, schedules, class weights and regularisers.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

import importlib
from typing import Any

_HOMES = {
    "AdamW": "optimizers",
    "SGD": "optimizers",
    "build_optimizer": "optimizers",
    "inner_optimizer": "optimizers",
    "FreezeSummary": "freezing",
    "freeze": "freezing",
    "frozen_addresses": "freezing",
    "unfreeze": "freezing",
    "Schedule": "schedules",
    "LinearSchedule": "schedules",
    "CosineSchedule": "schedules",
    "PolynomialSchedule": "schedules",
    "ExponentialSchedule": "schedules",
    "ConstantSchedule": "schedules",
    "build_schedule": "schedules",
    "BindSchedule": "schedule_length",
    "bind_schedule": "schedule_length",
    "check_callbacks": "schedule_length",
    "class_weights": "balancing",
    "regularize": "regularization",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
