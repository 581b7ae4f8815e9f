"""Labelled texts: reading them, splitting them, checking them and feeding them to a model.

Names load on first use, so reading and checking files needs neither TensorFlow nor Keras.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Split": "split",
        "Splits": "split",
        "load": "loading",
        "load_language_texts": "language_texts",
        "load_tagged": "readers.tagged",
        "TaggedSplit": "tagged",
        "split_words": "tagged",
        "load_pairs": "parallel",
        "check_pairs": "parallel",
        "PairReport": "parallel",
        "train_test_split": "splitting",
        "subset": "splitting",
        "check": "checks",
        "drop_leaked": "checks",
        "DataReport": "data_report",
        "normalize_for_dedup": "dedup",
        "Texts": "texts",
        "as_texts": "texts",
        "encode_targets": "labels",
        "Examples": "examples",
        "build_examples": "examples",
        "Field": "fields",
        "Tokens": "fields",
        "Values": "fields",
        "Sequences": "fields",
        "TokenLabels": "fields",
        "Ragged": "ragged",
        "packer": "row_packing",
        "Packer": "row_packing",
        "length_buckets": "buckets",
        "Epoch": "pipeline",
        "Augmentation": "augmentation",
        "augmented_batches": "augmented_batches",
        "token_batches": "pipeline",
        "ordered_batches": "pipeline",
        "stream_batches": "pipeline",
    },
)
