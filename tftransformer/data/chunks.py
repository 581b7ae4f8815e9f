"""Long documents as chunks that an encoder can take, cut out of batches of token ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tftransformer.errors import TransformerError, check_whole

if TYPE_CHECKING:
    import tensorflow as tf

# The tokens before and behind the text of each chunk.
SPECIAL = 2


@dataclass(frozen=True)
class Chunker:
    """Cuts documents into as few chunks as hold them, of nearly one length, each with its own special tokens.

    A document that is one token too long for one chunk becomes two halves, not a chunk and a stub. The same
    TensorFlow operations run eagerly, in `tf.data` and in an exported graph.

    Args:
        sequence_length: T, tokens of a chunk at most, the two special tokens included.
        max_chunks: C, chunks of a document at most; what comes after them is not read.
        start_id, separator_id, pad_id: Ids of [CLS], [SEP] and [PAD].
        overlap: Tokens at the end of a chunk that the next one begins with.

    Raises:
        TransformerError: A number that is none or out of its range.

    Example:
        >>> import tensorflow as tf
        >>> cut = Chunker(sequence_length=5, max_chunks=3, start_id=2, separator_id=3)
        >>> ids = tf.constant([[2, 11, 12, 13, 14, 3]])
        >>> cut({"token_ids": ids, "padding_mask": tf.ones_like(ids)})["token_ids"].numpy().tolist()
        [[[2, 11, 12, 3], [2, 13, 14, 3]]]
    """

    sequence_length: int
    max_chunks: int
    start_id: int
    separator_id: int
    pad_id: int = 0
    overlap: int = 0

    def __post_init__(self) -> None:
        check_whole("sequence_length", self.sequence_length, SPECIAL + 1)
        check_whole("max_chunks", self.max_chunks)
        check_whole("overlap", self.overlap, 0)
        if self._stride < 1:
            most = self.sequence_length - SPECIAL - 1
            raise TransformerError(f"overlap must be at most {most}, less than the text of a chunk; got {self.overlap}")

    @property
    def document_length(self) -> int:
        """Tokens of the longest document that is read to its end, with one pair of special tokens."""
        return self.max_chunks * self._stride + self.overlap + SPECIAL

    @property
    def _stride(self) -> int:
        return self.sequence_length - SPECIAL - self.overlap

    def __call__(self, documents: Mapping[str, tf.Tensor], few_shapes: bool = False) -> dict[str, tf.Tensor]:
        """The chunks of a batch of packed documents.

        Args:
            documents: `token_ids` and `padding_mask`, (B, L) integers with L up to `document_length`, as
                `data.packer` makes them of single texts.
            few_shapes: Let L alone decide the shape, for compilers that start anew for each; else it is
                that of the longest chunk and of the most chunks in the batch.

        Returns:
            `token_ids`, `segment_ids` and `padding_mask`, int32 (B, C, T). A chunk that is not there is padding.
        """
        import tensorflow as tf

        ids = documents["token_ids"]
        tokens = tf.reduce_sum(tf.cast(documents["padding_mask"], tf.int32), axis=1) - SPECIAL
        longest = tf.shape(ids)[1]
        # The floors are for a batch without documents, of which there is no largest.
        most = self.counts(longest - SPECIAL) if few_shapes else tf.maximum(1, tf.reduce_max(self.counts(tokens)))
        starts, ends = self.spans(tokens, most)
        lengths = tf.where(ends > starts, ends - starts + SPECIAL, 0)
        # A document without a token is one chunk without a token, not none.
        lengths = tf.maximum(lengths, SPECIAL * tf.one_hot(0, most, dtype=tf.int32))[..., tf.newaxis]
        longest_chunk = tf.maximum(SPECIAL, tf.reduce_max(lengths))
        width = tf.minimum(longest, self.sequence_length) if few_shapes else longest_chunk
        # Column t of a chunk holds its text's token t - 1, which the document has one place later.
        columns = tf.range(width)
        places = tf.minimum(starts[..., tf.newaxis] + columns, longest - 1)
        chunks = tf.cast(tf.gather(ids, places, batch_dims=1), tf.int32)
        chunks = tf.where(columns == 0, self.start_id, chunks)
        chunks = tf.where(columns == lengths - 1, self.separator_id, chunks)
        mask = columns < lengths
        return {
            "token_ids": tf.where(mask, chunks, self.pad_id),
            "segment_ids": tf.zeros_like(chunks),
            "padding_mask": tf.cast(mask, tf.int32),
        }

    def counts(self, tokens: tf.Tensor) -> tf.Tensor:
        """Return the number of chunks for each number of tokens of text."""
        import tensorflow as tf

        return tf.maximum(1, -((self.overlap - tokens) // self._stride))

    def spans(self, tokens: tf.Tensor, most: tf.Tensor | int) -> tuple[tf.Tensor, tf.Tensor]:
        """Return the range of tokens of its document that each chunk holds.

        Args:
            tokens: (B,) tokens of text in each document.
            most: C.

        Returns:
            (B, C) first token and token after the last; both 0 for a chunk that is not there.
        """
        import tensorflow as tf

        tokens = tf.cast(tokens, tf.int32)[:, tf.newaxis]
        counts, number = self.counts(tokens), tf.range(most)[tf.newaxis]

        def edge(index: tf.Tensor) -> tf.Tensor:
            return index * (tokens - self.overlap) // counts

        real = number < counts
        return tf.where(real, edge(number), 0), tf.where(real, edge(number + 1) + self.overlap, 0)
