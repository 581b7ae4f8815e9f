"""tftransformer: Transformers in Keras 3 for TensorFlow, and transfer learning with them.

Names load on first use, so that `import tftransformer` costs nothing and the layers and models work where
TensorFlow is absent.

Example:
    >>> import tftransformer as tt
    >>> train, validation, test = tt.data.load("sample")
    >>> classifier = tt.TextClassifier.from_preset("bert_12x192_en_uncased", labels=train.labels)
"""

from tftransformer.lazy import attach

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "checkpoints": "",
        "data": "",
        "evaluation": "",
        "experiments": "",
        "export": "",
        "finetuning": "",
        "layers": "",
        "models": "",
        "patterns": "",
        "tasks": "",
        "training": "",
        "TransformerConfig": "config",
        "TransformerError": "errors",
        "TextClassifier": "tasks.text_classifier",
        "DocumentClassifier": "tasks.document_classifier",
        "MultiTaskClassifier": "tasks.multi_task",
        "ClassificationTask": "tasks.labelled",
        "freeze": "finetuning.freezing",
        "unfreeze": "finetuning.freezing",
        "enable_lora": "finetuning.lora",
        "merge_lora": "finetuning.lora",
        "unmerge_lora": "finetuning.lora",
        "save_lora": "finetuning.lora",
        "load_lora": "finetuning.lora",
        "add_adapter": "finetuning.adapters",
        "set_adapter": "finetuning.adapters",
        "remove_adapter": "finetuning.adapters",
        "adapter_names": "finetuning.adapters",
        "add_prefix": "finetuning.prefix_tuning",
        "remove_prefix": "finetuning.prefix_tuning",
        "train_only": "finetuning.freezing",
        "GradualUnfreezing": "finetuning.unfreezing",
        "layerwise_multipliers": "finetuning.layerwise",
        "keep_layers": "finetuning.layer_keeping",
        "prune_heads": "finetuning.pruning",
        "choose_heads": "finetuning.pruning",
        "head_importance": "finetuning.head_importance",
        "distill": "finetuning.distillation",
        "parse_strategy": "finetuning.strategy",
        "PrefixCache": "finetuning.prefix_cache",
        "load_preset": "checkpoints.presets",
        "Augmentation": "data.augmentation",
        "describe": "checkpoints.describe",
        "find_learning_rate": "experiments.lr_finder",
        "compare_strategies": "experiments.strategy_comparison",
        "cross_validate": "experiments.cross_validation",
        "search": "experiments.search",
        "drift_report": "experiments.drift",
    },
)
