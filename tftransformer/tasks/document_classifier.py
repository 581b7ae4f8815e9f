"""Classification of documents longer than the encoder: chunks to vectors, attention over chunks, one head.

Hierarchical attention (Yang et al. 2016, aclanthology.org/N16-1174) with a pretrained encoder below (Pappagari et
al. 2019, arXiv 1910.10781).
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tftransformer.config import TransformerConfig
from tftransformer.errors import TransformerError
from tftransformer.layers.hierarchical import AttentionPooling
from tftransformer.layers.positions import LearnedPosition
from tftransformer.models.blocks import build_encoder_block
from tftransformer.preprocessing.chunks import ChunkPreprocessor
from tftransformer.preprocessing.datasets import texts_alone
from tftransformer.tasks.text_classifier import TextClassifier
from tftransformer.text.base import Tokenizer
from tftransformer.training.keras_arguments import checked_batch_size


class ChunkWeight(NamedTuple):
    """A chunk of a document, as the document writes it, and how much it counts (0 to 1)."""

    text: str
    weight: float


@keras.saving.register_keras_serializable(package="tftransformer")
class DocumentClassifier(TextClassifier):
    """A `TextClassifier` that reads long texts to their end, chunk by chunk; usually made by `from_preset`.

    Each chunk goes through the encoder and its pooling; `chunk_attention`, a learned query, weighs the chunks'
    vectors into the document's. Without `chunk_blocks`, a text that fits into one chunk is classified exactly as by the
    `TextClassifier` of the same weights. Called on (B, C, T) integers it returns logits; everything else is as there,
    but that the texts are no pairs.

    Args:
        config, tokenizer, labels: As for `TextClassifier`.
        max_chunks: Chunks of a document at most; what lies behind them is not read.
        overlap: Tokens that a chunk shares with the one before.
        chunk_blocks: Transformer blocks of the encoder's sizes over the chunks' vectors, named
            `chunk_block_{i}`, with learned positions (`chunk_position`) before them. They let chunks see each other and
            their order, and start fresh; with 0 the order of chunks means nothing.
        options: Everything else that `TextClassifier` takes; `sequence_length` is that of a chunk.

    Raises:
        TransformerError: As `TextClassifier`; or chunks that cannot be.

    Example:
        >>> classifier = DocumentClassifier.from_preset(
        ...     "bert_12x192_en_uncased", labels=["no", "yes"], sequence_length=128, max_chunks=8
        ... )
        >>> classifier.predict(["a long story " * 100], verbose=0).shape
        (1, 2)
    """

    in_chunks = True
    kept_settings = (*TextClassifier.kept_settings, "max_chunks", "overlap", "chunk_blocks")
    own_weights = (*TextClassifier.own_weights, "chunk_.*")

    def __init__(
        self,
        config: TransformerConfig | dict,
        tokenizer: Tokenizer | dict,
        labels: Sequence[str],
        *,
        max_chunks: int = 8,
        overlap: int = 0,
        chunk_blocks: int = 0,
        name: str = "document_classifier",
        **options: Any,
    ) -> None:
        preprocessor = functools.partial(ChunkPreprocessor, max_chunks=max_chunks, overlap=overlap)
        super().__init__(config, tokenizer, labels, preprocessor=preprocessor, name=name, **options)
        if self.text_pairs:
            raise TransformerError("a DocumentClassifier takes single texts; text_pairs=True is for others")
        whole = isinstance(chunk_blocks, int) and not isinstance(chunk_blocks, bool)
        if not whole or chunk_blocks < 0:
            raise TransformerError(f"chunk_blocks must be 0 or a positive integer; got {chunk_blocks!r}")
        policy, width = self.dtype_policy, self.config.hidden_dim
        self.chunk_position = None
        if chunk_blocks:
            self.chunk_position = LearnedPosition(max_chunks, dtype=policy, name="chunk_position")
            self.chunk_position.build((None, None, width))
        self.chunk_blocks = [build_encoder_block(self.config, f"chunk_block_{i}", policy) for i in range(chunk_blocks)]
        self.chunk_attention = AttentionPooling(dtype=policy, name="chunk_attention")
        for layer in (*self.chunk_blocks, self.chunk_attention):
            layer.build((None, None, width))

    # From chunks to a document.

    def frozen_part(self) -> None:
        return None  # what is stored is found by rows, of which a document has several

    def pooled(self, inputs: Mapping[str, Any], training: bool | None = None) -> Any:
        """The documents' vectors (B, D), which the head sees, of integer inputs."""
        real = real_chunks(inputs)
        return self.attend(self._chunk_vectors(inputs, real, training), real, training)[0]

    def attend(self, vectors: Any, real: Any, training: bool | None = None) -> tuple[Any, Any]:
        """From chunks' vectors to the document's.

        Args:
            vectors: (B, C, D).
            real: (B, C), True at chunks that are there.
            training: As for a Keras model.

        Returns:
            (B, D), and the weights (B, C), which are 0 at chunks that are not there.
        """
        if self.chunk_position is not None:
            vectors = self.chunk_position(vectors)
        for block in self.chunk_blocks:
            vectors = block(vectors, padding_mask=real, training=training)
        return self.chunk_attention(vectors, padding_mask=real, return_attention_scores=True)

    def _chunk_vectors(self, inputs: Mapping[str, Any], real: tf.Tensor, training: bool | None) -> tf.Tensor:
        """(B, C, D): each chunk through the encoder and its pooling, those that are not there left out."""
        rows = {name: tf.reshape(value, [-1, tf.shape(value)[-1]]) for name, value in inputs.items()}
        # XLA knows no shapes that depend on values: it computes the empty chunks, too.
        every = self.jit_compile
        if not every:
            places = tf.where(tf.reshape(real, [-1]))[:, 0]
            rows = {name: tf.gather(value, places) for name, value in rows.items()}
        vectors = self.network(rows, training)
        if every:
            return tf.reshape(vectors, [*tf.unstack(tf.shape(real)), vectors.shape[-1]])
        return in_places(vectors, real)

    def chunk_weights(self, texts: Any, batch_size: int | None = None) -> list[list[ChunkWeight]]:
        """Return how much each chunk of a document decided, by the weights of the attention over chunks.

        With `chunk_blocks` a chunk's vector also depends on the other chunks, and the weights say less.

        Args:
            texts: In any form that `predict` takes.
            batch_size: Documents at a time; None: as `predict`.

        Returns:
            For each text its chunks, in order; their weights sum to 1.

        Example:
            >>> [chunk] = classifier.chunk_weights(["a story of one chunk"])[0]
            >>> chunk
            ChunkWeight(text='a story of one chunk', weight=1.0)
        """
        documents = self.preprocess(texts_alone(texts))
        batches, inverse = self.ordered_batches(documents, checked_batch_size(batch_size, self.inference_batch_size))
        if batches is None:
            return []

        rows: list[np.ndarray] = []
        for inputs in batches:
            real = real_chunks(inputs)
            rows += list(self.attend(self._chunk_vectors(inputs, real, False), real, False)[1].numpy())
        return [
            [ChunkWeight(chunk, float(weight)) for chunk, weight in zip(chunks, rows[i])]
            for chunks, i in zip(self.preprocessor.chunk_texts(documents.texts().first), inverse)
        ]

    # To folders.

    def served_network(self) -> Callable[[Mapping[str, tf.Tensor]], tf.Tensor]:
        """As of any classifier; only chunks that are there are computed."""
        vectors_of = self.network.served(pairs=False)

        def network(chunks: Mapping[str, tf.Tensor]) -> tf.Tensor:
            real = real_chunks(chunks)
            vectors = vectors_of({name: tf.boolean_mask(value, real) for name, value in chunks.items()})
            return self.head(self.attend(in_places(vectors, real), real)[0])

        return network

    def task_settings(self) -> dict:
        return {
            **super().task_settings(),
            "max_chunks": self.preprocessor.chunker.max_chunks,
            "overlap": self.preprocessor.chunker.overlap,
            "chunk_blocks": len(self.chunk_blocks),
        }


# Which chunks of a batch are there, and the vectors of those at their places.


def real_chunks(inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
    """(B, C), True at chunks that are there."""
    return tf.reduce_any(tf.cast(inputs["padding_mask"], tf.bool), axis=-1)


def in_places(vectors: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """(B, C, D) from the vectors (R, D) of the R chunks that are there, zeros at the others.

    Example:
        >>> in_places(tf.constant([[1.0], [2.0]]), tf.constant([[True, False], [False, True]])).numpy().tolist()
        [[[1.0], [0.0]], [[0.0], [2.0]]]
    """
    shape = tf.concat([tf.shape(real, tf.int64), [vectors.shape[-1]]], 0)
    return tf.scatter_nd(tf.where(real), vectors, shape)
