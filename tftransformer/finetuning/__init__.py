"""Fine-tuning: freezing, LoRA, adapters and prefixes, optimizers with a rate per weight, schedules, class weights and regularisers.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "AdamW": "optimizers",
        "SGD": "optimizers",
        "build_optimizer": "optimizers",
        "inner_optimizer": "optimizers",
        "FreezeSummary": "freezing",
        "freeze": "freezing",
        "frozen_addresses": "freezing",
        "unfreeze": "freezing",
        "enable_lora": "lora",
        "merge_lora": "lora",
        "unmerge_lora": "lora",
        "save_lora": "lora",
        "load_lora": "lora",
        "add_adapter": "adapters",
        "set_adapter": "adapters",
        "remove_adapter": "adapters",
        "adapter_names": "adapters",
        "add_prefix": "prefix_tuning",
        "remove_prefix": "prefix_tuning",
        "train_only": "freezing",
        "parse_strategy": "strategy",
        "PrefixCache": "prefix_cache",
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
    },
)
