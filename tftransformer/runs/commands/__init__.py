"""The commands, a module each: `define_flags`, `read_flags` (before TensorFlow is loaded) and `run`.

`python -m tftransformer NAME` and `examples/NAME.py` call the same three functions.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"run_command": "running"})

COMMANDS = (
    "classify",
    "classify_documents",
    "multi_task",
    "custom_model",
    "compare_strategies",
    "search",
    "cross_validate",
    "drift",
    "inspect_preset",
    "pretrain",
)
