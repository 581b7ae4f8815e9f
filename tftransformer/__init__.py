"""tftransformer: Transformers in Keras 3 for TensorFlow, and transfer learning with them.

Names load on first use, so that `import tftransformer` costs nothing and the layers and models work where
TensorFlow is absent.

Example:
    >>> import tftransformer as tt
    >>> train, validation, test = tt.data.load("sample")
    >>> classifier = tt.TextClassifier.from_preset("bert_12x192_en_uncased", labels=train.labels)
"""

from tftransformer.finetuning.methods import __all__ as METHOD_CLASSES
from tftransformer.lazy import attach
from tftransformer.tasks import TASKS

__version__ = "0.1.0"

MODULES = (
    "checkpoints", "data", "distribution", "evaluation", "export", "finetuning", "layers", "models", "objectives", "patterns",
    "preprocessing", "pretraining", "runs", "tasks", "text",
)  # fmt: skip

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        **dict.fromkeys(MODULES, ""),
        "TransformerConfig": "config",
        "TransformerError": "errors",
        **dict.fromkeys(TASKS, "tasks"),
        "ClassificationTask": "objectives.several",
        **dict.fromkeys(METHOD_CLASSES, "finetuning.methods"),
        "set_adapter": "finetuning.methods.adapter",
        "remove_adapter": "finetuning.methods.adapter",
        "adapter_names": "finetuning.methods.adapter",
        "remove_prefix": "finetuning.methods.prefix",
        "merge": "finetuning.projection_deltas",
        "unmerge": "finetuning.projection_deltas",
        "save_changes": "finetuning.projection_deltas",
        "load_changes": "finetuning.projection_deltas",
        "parse_strategy": "finetuning.strategy",
        "unfreeze": "finetuning.freezing",
        "keep_layers": "finetuning.rebuilding",
        "prune_heads": "finetuning.pruning",
        "choose_heads": "finetuning.pruning",
        "head_importance": "finetuning.head_importance",
        "ActivationCache": "finetuning.activation_cache",
        "load": "tasks.loading",
        "load_preset": "checkpoints.presets",
        "Augmentation": "data.augmentation",
        "describe": "checkpoints.describe",
        "find_learning_rate": "runs.lr_finder",
        "compare_strategies": "runs.strategy_comparison",
        "cross_validate": "runs.cross_validation",
        "search": "runs.search",
        "drift_report": "runs.drift",
    },
)
