"""Fine-tuning: freezing, LoRA, adapters and prefixes, optimizers with a rate per weight, schedules, class weights and regularisers.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.finetuning.methods import __all__ as METHOD_CLASSES
from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AdamW": "optimizers",
        "SGD": "optimizers",
        "build_optimizer": "optimizers",
        "inner_optimizer": "optimizers",
        "FreezeSummary": "freezing",
        "frozen_addresses": "freezing",
        **dict.fromkeys(METHOD_CLASSES, "methods"),
        "set_adapter": "methods.adapter",
        "remove_adapter": "methods.adapter",
        "adapter_names": "methods.adapter",
        "remove_prefix": "methods.prefix",
        "merge": "projection_changes",
        "unmerge": "projection_changes",
        "save_changes": "projection_changes",
        "load_changes": "projection_changes",
        "parse_strategy": "strategy",
        "Strategy": "strategy",
        "as_strategy": "strategy",
        "train_only": "freezing",
        "freeze": "freezing",
        "unfreeze": "freezing",
        "run_stages": "unfreezing",
        "carry_optimizer": "unfreezing",
        "keep_layers": "rebuilding",
        "prune_heads": "pruning",
        "choose_heads": "pruning",
        "head_importance": "head_importance",
        "ActivationCache": "activation_cache",
        "Schedule": "schedules",
        "LinearSchedule": "schedules",
        "CosineSchedule": "schedules",
        "PolynomialSchedule": "schedules",
        "ExponentialSchedule": "schedules",
        "ConstantSchedule": "schedules",
        "SlantedTriangularSchedule": "schedules",
        "WarmedLinearSchedule": "schedules",
        "build_schedule": "schedules",
        "BindSchedule": "schedule_length",
        "bind_schedule": "schedule_length",
        "check_callbacks": "schedule_length",
        "class_weights": "balancing",
        "regularize": "losses",
        "StopOnNonFinite": "guards",
    },
)
