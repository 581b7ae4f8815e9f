"""Preprocessors: from what users give to what networks take, one file a kind of input."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "TextPreprocessor": "text",
        "ChunkPreprocessor": "chunks",
        "ContinuationPreprocessor": "continuation",
        "SeveralTextsPreprocessor": "several",
        "TaggedTextPreprocessor": "tagged_text",
        "TextToTextPreprocessor": "text_to_text",
    },
)
