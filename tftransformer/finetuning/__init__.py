"""Fine-tuning: freezing, LoRA, adapters and prefixes, optimizers with a rate per weight, schedules, class weights and regularisers.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.finetuning.methods import __all__ as METHOD_CLASSES
from tftransformer.lazy import attach

_NAMES = {
    "optimizers": ("AdamW", "SGD", "build_optimizer", "inner_optimizer"),
    "schedules": (
        "Schedule", "LinearSchedule", "CosineSchedule", "PolynomialSchedule", "ExponentialSchedule", "ConstantSchedule",
        "SlantedTriangularSchedule", "WarmedLinearSchedule", "build_schedule",
    ),
    "schedule_length": ("BindSchedule", "bind_schedule", "check_callbacks"),
    "freezing": ("FreezeSummary", "freeze", "unfreeze", "train_only", "frozen_addresses"),
    "methods": METHOD_CLASSES,
    "methods.adapter": ("set_adapter", "remove_adapter", "adapter_names"),
    "methods.prefix": ("remove_prefix",),
    "projection_deltas": ("merge", "unmerge", "save_changes", "load_changes"),
    "strategy": ("Strategy", "as_strategy", "parse_strategy"),
    "unfreezing": ("run_stages", "carry_optimizer"),
    "rebuilding": ("keep_layers",),
    "pruning": ("prune_heads", "choose_heads"),
    "head_importance": ("head_importance",),
    "activation_cache": ("ActivationCache",),
    "balancing": ("class_weights",),
    "losses": ("regularize",),
    "guards": ("StopOnNonFinite",),
}  # fmt: skip
__getattr__, __dir__, __all__ = attach(__name__, {name: file for file, names in _NAMES.items() for name in names})
