"""Long texts as chunks that an encoder can read: whole documents until they are batched, chunks from then on."""

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from tftransformer.data.chunks import SPECIAL, Chunker
from tftransformer.data.dataset_functions import BATCHES_AHEAD
from tftransformer.data.row_packing import packer
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.text import TextPreprocessor
from tftransformer.text.base import Tokenizer


class ChunkPreprocessor(TextPreprocessor):
    """From texts of any length to chunks (B, C, T).

    Args:
        tokenizer: Text to ids.
        sequence_length: Tokens of a chunk, special tokens included.
        max_chunks: Chunks of a document at most; what lies behind them is not read.
        overlap: Tokens that a chunk shares with the one before.

    Attributes:
        cut: From documents to chunks.

    Raises:
        TransformerError: Chunks that cannot be.
    """

    def __init__(self, tokenizer: Tokenizer, sequence_length: int, max_chunks: int = 8, overlap: int = 0) -> None:
        super().__init__(tokenizer, sequence_length)
        ids = (tokenizer.start_id, tokenizer.separator_id, tokenizer.pad_id)
        self.chunker = Chunker(sequence_length, max_chunks, *ids, overlap)
        self.pack = packer(tokenizer, self.chunker.document_length)

    @property
    def rows_per_example(self) -> int:
        """Chunks of a document at most."""
        return self.chunker.max_chunks

    def graph(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        return self.chunker(super().graph(*texts))

    def network_batches(self, batches: tf.data.Dataset, few_shapes: bool) -> tf.data.Dataset:
        def cut(x: Mapping[str, tf.Tensor], *rest: Any) -> Any:
            chunks = self.chunker(x, few_shapes)
            return (chunks, *rest) if rest else chunks

        cut = tf.autograph.experimental.do_not_convert(cut)
        return batches.map(cut, num_parallel_calls=tf.data.AUTOTUNE).prefetch(BATCHES_AHEAD)

    def check(self, pairs: bool) -> None:
        if pairs:
            raise TransformerError("a DocumentClassifier takes single texts; got pairs of texts")

    def chunk_texts(self, texts: Sequence[str]) -> list[list[str]]:
        """Return the chunks that the encoder reads, cut out of the texts as they are written."""
        found = []
        for text in texts:
            tokens = self.tokenizer.tokenize_with_offsets([text])
            starts, ends = tokens.starts.values.numpy(), tokens.ends.values.numpy()
            count = min(len(starts), self.chunker.document_length - SPECIAL)
            spans = self.chunker.spans([count], self.chunker.counts(count))
            edges = zip(*(edge[0].numpy().tolist() for edge in spans))
            found.append([text[starts[i] : ends[j - 1]] if j > i else "" for i, j in edges])
        return found
