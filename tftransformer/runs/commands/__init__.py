"""The commands, a module each, which `python -m tftransformer NAME` gives to `run_program`."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"run_command": "running", "run_program": "running"})

COMMANDS = (
    "classify",
    "classify_documents",
    "regress",
    "tag",
    "multi_task",
    "custom_model",
    "compare_strategies",
    "search",
    "cross_validate",
    "drift",
    "inspect_preset",
    "pretrain",
    "translate",
    "summarize",
    "generate",
)
