"""Text to token ids and back: the tokenizers, packing for the encoders, and vocabulary training.

Names load on first use: the tokenizer needs tensorflow-text, the packer only TensorFlow.
"""

from importlib import import_module

_HOMES = {
    "WordPieceTokenizer": "wordpiece",
    "read_vocabulary": "vocabulary",
    "write_vocabulary": "vocabulary",
    "pack": "packing",
    "train_wordpiece": "vocabulary_training",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *_HOMES})
