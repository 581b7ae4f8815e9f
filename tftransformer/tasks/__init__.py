"""Tasks: an encoder, a head, preprocessing and labels in one `keras.Model` over raw text."""

from tftransformer.lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "TextTask": "base",
        "EncoderTask": "encoder_task",
        "TextClassifier": "text_classifier",
        "DocumentClassifier": "document_classifier",
        "MultiTaskClassifier": "multi_task",
        "ClassificationTask": "labelled",
        "load": "loading",
        "masked_filler": "masked_filler",
        "token_vectors": "encoder_task",
    },
)
