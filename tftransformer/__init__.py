"""tftransformer: Transformers in Keras 3 for TensorFlow, and transfer learning with them.

Names load on first use, so that `import tftransformer` costs nothing and the layers and models work where
TensorFlow is absent.

Example:
    >>> import tftransformer as tt
    >>> train, validation, test = tt.data.load("sample")
    >>> classifier = tt.TextClassifier.from_preset("bert_12x192_en_uncased", labels=train.labels)
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_PACKAGES = (
    "checkpoints", "data", "evaluation", "experiments", "export", "finetuning", "layers", "models", "patterns",
    "tasks", "training",
)  # fmt: skip
_HOMES = {
    "TransformerConfig": "config",
    "TransformerError": "errors",
    "TextClassifier": "tasks.text_classifier",
    "freeze": "finetuning.freezing",
    "unfreeze": "finetuning.freezing",
    "load_preset": "checkpoints.presets",
}

__all__ = [*_PACKAGES, *_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
