"""Pretraining: masked-language and distillation objectives under `fit`, over shards of plain text.

Names load on first use: importing this package loads neither Keras nor TensorFlow.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Pretrainer": "pretrainer",
        "MaskedLanguageModelling": "pretrainer",
        "build_optimizer": "pretrainer",
        "HiddenStateMatching": "distillation",
        "inherit": "inheritance",
        "TrainingBatches": "batches",
        "for_evaluate": "batches",
        "RunLength": "callbacks",
        "CSVLog": "callbacks",
        "Checkpoint": "callbacks",
        "ProgressLine": "callbacks",
        "ENDLESS": "callbacks",
    },
)
