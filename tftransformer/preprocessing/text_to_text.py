"""Texts and the texts that are to be written for them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import CHUNK_TEXTS
from tftransformer.data.fields import Sequences
from tftransformer.data.ragged import Ragged
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.datasets import check_strings
from tftransformer.preprocessing.text import TextPreprocessor
from tftransformer.text.base import Tokenizer


class TextToTextPreprocessor(TextPreprocessor):
    """From texts to tokens of an encoder, and from their targets to those of a decoder.

    Args:
        tokenizer: Text to ids of the sources.
        sequence_length: Longest source in tokens, special tokens included; longer ones are truncated.
        target_tokenizer: Text to ids of the targets.
        target_length: Longest target in tokens, its end included; longer ones are truncated.
        begin: Ids that a target begins with; the first is given to the decoder, the others are written.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sequence_length: int,
        target_tokenizer: Tokenizer,
        target_length: int,
        begin: Sequence[int],
    ) -> None:
        super().__init__(tokenizer, sequence_length, pairs=False)
        self.target_tokenizer, self.target_length, self.begin = target_tokenizer, target_length, tuple(begin)

    def read(self, x: Any, y: Any, sample_weight: Any) -> Texts:
        texts = super().read(x, y, sample_weight)
        if texts.second is None:
            return texts
        if texts.targets is not None:
            raise TransformerError("y must be None where x holds pairs: the second text of a pair is its target")
        return Texts(texts.first, None, texts.second, texts.weights)

    def encode_targets(self, targets: Any) -> Sequences:
        """Return target texts as ids, cut and with their ends.

        Raises:
            TransformerError: One is no text.
        """
        check_strings(targets, "a target")
        rows: list[np.ndarray] = []
        for start in range(0, len(targets), CHUNK_TEXTS):
            with_ends = self._target_rows(tf.constant(list(targets[start : start + CHUNK_TEXTS]), tf.string))
            rows.extend(np.split(with_ends.values.numpy(), with_ends.row_splits.numpy()[1:-1]))
        return Sequences(Ragged.of(rows, "int32"), pad=self.target_tokenizer.pad_id, begin=self.begin[0])

    def encode_stream(self, targets: tf.Tensor) -> tf.Tensor:
        """Return `encode_targets` of a batch in TensorFlow operations, (B, T), -1 at padding."""
        return self._target_rows(targets).to_tensor(-1)

    def _target_rows(self, texts: tf.Tensor) -> tf.RaggedTensor:
        """Return the ids to write for texts (B,): those of `begin` but for the first; those of the text; an end."""
        ids = self.target_tokenizer.tokenize(texts)[:, : self.target_length - len(self.begin)]
        column = tf.ones([ids.nrows(), 1], tf.int32)
        before = [tf.RaggedTensor.from_tensor(column * token) for token in self.begin[1:]]
        return tf.concat(
            [*before, ids, tf.RaggedTensor.from_tensor(column * self.target_tokenizer.separator_id)], axis=1
        )

    def stream(self, dataset: tf.data.Dataset, batch_size: int, objective: Any, few_shapes: bool) -> tf.data.Dataset:
        batches = super().stream(dataset, batch_size, objective, few_shapes)
        if not isinstance(batches.element_spec, tuple):
            return batches

        def shifted(x: dict, y: tf.Tensor, *weights: tf.Tensor) -> tuple:
            real = y >= 0
            y = tf.where(real, y, self.target_tokenizer.pad_id)
            before = tf.fill([tf.shape(y)[0], 1], self.begin[0])
            own = tf.cast(weights[0], tf.float32)[:, tf.newaxis] if weights else 1.0
            decoder = {
                "decoder_token_ids": tf.concat([before, y[:, :-1]], 1),
                "decoder_padding_mask": tf.cast(real, tf.int32),
            }
            return {**x, **decoder}, y, tf.cast(real, tf.float32) * own

        return batches.map(tf.autograph.experimental.do_not_convert(shifted), num_parallel_calls=tf.data.AUTOTUNE)
