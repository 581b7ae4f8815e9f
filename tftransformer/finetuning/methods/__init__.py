"""Fine-tuning methods, a file each: what a method puts into a model, what of it trains, and how fast.

`classifier.apply(LoRA(rank=8))` and `classifier.apply("lora:8")` are the same. A new method is a file here with a
subclass of `Method` and a row in `METHODS`.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.lazy import attach

# What a user types before the colon: the file, and the class in it.
METHODS = {
    "full": ("full", "Full"),
    "freeze": ("freeze", "Freeze"),
    "head": ("head_only", "HeadOnly"),
    "probe": ("probe", "LinearProbe"),
    "head_start": ("probe", "HeadStart"),
    "contrastive": ("contrastive", "Contrastive"),
    "unfreeze": ("gradual_unfreezing", "GradualUnfreezing"),
    "layerwise": ("layerwise_rates", "LayerwiseRates"),
    "average": ("average_weights", "AverageWeights"),
    "bitfit": ("bitfit", "BitFit"),
    "lora": ("lora", "LoRA"),
    "dora": ("dora", "DoRA"),
    "ia3": ("ia3", "IA3"),
    "adapter": ("adapter", "Adapter"),
    "prefix": ("prefix", "Prefix"),
}
__getattr__, __dir__, __all__ = attach(
    __name__, {"Method": "base", "Distillation": "distillation", **{name: file for file, name in METHODS.values()}}
)
