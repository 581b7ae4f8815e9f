"""Text to token ids and back: the tokenizers, packing for the encoders, and vocabulary training.

Names load on first use: the tokenizer needs tensorflow-text, the packer only TensorFlow.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ByteBPETokenizer": "byte_bpe",
        "WordPieceTokenizer": "wordpiece",
        "read_vocabulary": "vocabulary",
        "write_vocabulary": "vocabulary",
        "pack": "packing",
        "train_wordpiece": "vocabulary_training",
    },
)
