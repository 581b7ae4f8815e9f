"""Export of a document classifier to a TensorFlow SavedModel: whole documents in, probabilities out."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import tensorflow as tf

from tftransformer.export.answers import answers, write_saved_model
from tftransformer.export.inference_graph import inference_network
from tftransformer.export.saved_model import in_precision
from tftransformer.tasks.chunk_places import in_places, real_chunks


def export_documents(
    classifier: Any, folder: str | os.PathLike, *, overwrite: bool = False, dtype: str | None = None
) -> Path:
    """Write a `DocumentClassifier` with its tokenizer as a SavedModel; arguments and signature as of `export_classifier`.

    Texts are tokenised and cut into chunks inside the graph, and only chunks that are there are computed.

    Args:
        classifier: A `DocumentClassifier`.
        folder: Where to; it appears whole or not at all.
        overwrite: Replace a folder that holds files.
        dtype: "float32", or "bfloat16" for matrix products in that precision. None: the classifier's own.

    Returns:
        The folder.

    Raises:
        TransformerError: The folder holds files, the dtype is unknown, or the disk refuses.

    Example:
        >>> export_documents(classifier, "serving/reports/1")  # doctest: +SKIP
    """
    if dtype is not None:
        classifier = in_precision(classifier, dtype)
    chunk_vectors = inference_network(
        SimpleNamespace(
            config=classifier.config,
            encoder=classifier.encoder,
            extra_blocks=classifier.extra_blocks,
            pooler=classifier.pooler,
            head=lambda vectors: vectors,
            text_pairs=False,
        )
    )

    def classify(text: tf.Tensor) -> dict[str, tf.Tensor]:
        chunks = classifier.cut(classifier.pack(classifier.tokenizer.tokenize(text)))
        real = real_chunks(chunks)
        vectors = chunk_vectors({name: tf.boolean_mask(value, real) for name, value in chunks.items()})
        document, _ = classifier.attend(in_places(vectors, real), real)
        return answers(classifier, classifier.activate(classifier.head(document)))

    strings = tf.TensorSpec([None], tf.string)
    served = tf.function(classify, autograph=False).get_concrete_function(text=strings)
    return write_saved_model(folder, {"serving_default": served}, overwrite=overwrite)
