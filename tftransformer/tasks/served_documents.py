"""Export of a document classifier to a TensorFlow SavedModel: whole documents in, probabilities out."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from tftransformer.export.answers import answers, write_saved_model
from tftransformer.export.comparison import tolerance_of
from tftransformer.export.inference_graph import inference_network
from tftransformer.export.saved_model import in_precision, served_texts
from tftransformer.tasks.chunk_places import in_places, real_chunks


def export_documents(
    classifier: Any, folder: str | os.PathLike, *, overwrite: bool = False, dtype: str | None = None
) -> Path:
    """Write a `DocumentClassifier` with its tokenizer as a SavedModel; arguments and signatures as of `export_classifier`.

    Texts are tokenised and cut into chunks inside the graph, and only chunks that are there are computed.

    Args:
        classifier: A `DocumentClassifier`.
        folder: Where to; it appears whole or not at all.
        overwrite: Replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision. None: the classifier's own.

    Returns:
        The folder.

    Raises:
        TransformerError: As `export_classifier`.

    Example:
        >>> classifier = DocumentClassifier.from_preset(preset, labels=["no", "yes"], max_chunks=4)
        >>> export_documents(classifier, "serving/reports/1").name
        '1'
    """
    copy = classifier if dtype is None else in_precision(classifier, dtype)
    chunk_vectors = inference_network(
        SimpleNamespace(
            config=copy.config,
            encoder=copy.encoder,
            extra_blocks=copy.extra_blocks,
            pooler=copy.pooler,
            head=lambda vectors: vectors,
            text_pairs=False,
        )
    )

    def chunks_of(text: tf.Tensor) -> dict[str, tf.Tensor]:
        return classifier.cut(classifier.pack(classifier.tokenizer.tokenize(text)))

    def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
        chunks = chunks_of(text)
        real = real_chunks(chunks)
        vectors = chunk_vectors({name: tf.boolean_mask(value, real) for name, value in chunks.items()})
        document, _ = copy.attend(in_places(vectors, real), real)
        return answers(classifier, classifier.activate(copy.head(document)))

    def expected(text: tf.Tensor) -> tf.Tensor:
        return classifier.activate(classifier(chunks_of(text), training=False))

    return write_saved_model(
        folder,
        {"serving_default": served_texts(classify, expected, classifier, classifier.cut.document_length)},
        classifier.labels,
        tolerance=tolerance_of(classifier.compute_dtype, copy.compute_dtype),
        overwrite=overwrite,
    )
