"""Text to token ids and back: the tokenizers, packing for the encoders, and vocabulary training.

Names load on first use: WordPiece needs tensorflow-text, the others only TensorFlow.
"""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ByteBPETokenizer": "byte_bpe",
        "CharacterBPETokenizer": "character_bpe",
        "SentencePieceTokenizer": "sentencepiece",
        "Tokenizer": "base",
        "TokenizerSpec": "spec",
        "WordPieceTokenizer": "wordpiece",
        "read_vocabulary": "vocabulary",
        "write_vocabulary": "vocabulary",
        "pack": "packing",
        "train_byte_bpe": "byte_bpe_training",
        "train_wordpiece": "vocabulary_training",
    },
)
