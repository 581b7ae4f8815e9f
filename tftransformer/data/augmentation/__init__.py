"""Changed copies of training texts that keep their labels: operations on words, and back-translation."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "Augmentation": "pipeline",
        "as_augmentation": "pipeline",
        "Operation": "operations",
        "SwapWords": "operations",
        "DeleteWords": "operations",
        "ReplaceSynonyms": "sources",
        "InsertSynonyms": "sources",
        "WordNetSynonyms": "sources",
        "EmbeddingNeighbours": "sources",
        "encoder_neighbours": "sources",
        "BackTranslation": "operations",
    },
)
