"""A document classifier in the form in which `export.export_classifier` takes classifiers."""

from typing import Any

import tensorflow as tf

from tftransformer.tasks.document_classifier import DocumentClassifier, in_places, real_chunks


class ServedDocuments:
    """A document classifier whose rows are chunks: packing cuts them, and the head first attends to them.

    The exporter makes rows of texts with `pack`, runs encoder and pooling over them, and gives the vectors to `head`,
    once in this order. In between the chunks' documents are remembered here. All else is the classifier's.

    Args:
        classifier: A `DocumentClassifier`.

    Example:
        >>> export_classifier(ServedDocuments(classifier), "serving/1")  # doctest: +SKIP
    """

    def __init__(self, classifier: Any) -> None:
        self._classifier = classifier

    def __getattr__(self, name: str) -> Any:
        return getattr(self._classifier, name)

    @classmethod
    def from_config(cls, config: dict) -> "ServedDocuments":
        """The same around a copy of the classifier, as exports in another precision make one."""
        return cls(DocumentClassifier.from_config(config))

    def pack(self, tokens: tf.RaggedTensor) -> dict[str, tf.Tensor]:
        """(R, T) inputs of the encoder: all chunks of all documents."""
        chunks = self._classifier.cut(self._classifier.pack(tokens))
        self._real = real_chunks(chunks)
        return {name: tf.boolean_mask(value, self._real) for name, value in chunks.items()}

    def head(self, vectors: tf.Tensor) -> tf.Tensor:
        """(B, C) logits from the vectors (R, D) of the chunks that `pack` returned last."""
        vectors = in_places(vectors, self._real)
        return self._classifier.head(self._classifier.attend(vectors, self._real)[0])
