"""Runs: whole runs, and what they leave on the disk."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__, {"ClassificationOptions": "options", "RunFolder": "run_folder", "run_command": "commands"}
)
