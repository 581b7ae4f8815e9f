"""Texts to go on with, whole or as prompts and their answers: each token's target is the one that follows it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf

from tftransformer.data.examples import CHUNK_TEXTS, TEXT, Examples
from tftransformer.data.fields import TokenLabels, Tokens
from tftransformer.data.ragged import Ragged, row_splits
from tftransformer.data.texts import Texts
from tftransformer.errors import TransformerError
from tftransformer.preprocessing.datasets import check_strings
from tftransformer.preprocessing.text import TextPreprocessor

# What a target is that does not count: the next token of a prompt, and what would follow the end.
IGNORED = -1


class ContinuationPreprocessor(TextPreprocessor):
    """From texts to rows of tokens, each with the token that follows it as its target; arguments as of `TextPreprocessor`.

    Plain texts are kept whole: longer ones are cut into rows of `sequence_length` tokens, of which none is left out.
    Of pairs, which are prompts and answers, the answers alone count, and longer ones lose tokens at their ends.
    """

    @property
    def longest_written(self) -> int:
        """Tokens that a server writes at most: a prompt is cut to half of what there is room for, the other half is there
        to write."""
        return self.sequence_length // 2

    @property
    def names(self) -> tuple[str, ...]:
        return ("text",)

    def graph(self, *texts: tf.Tensor) -> dict[str, tf.Tensor]:
        tokenizer, room = self.tokenizer, self.sequence_length - self.longest_written - 1 - bool(self.pairs)
        ids = tokenizer.tokenize(texts[0])[:, -room:]  # of a long prompt its end is what comes next
        column = tf.stack([ids.nrows(), 1])
        parts = [tf.RaggedTensor.from_tensor(tf.fill(column, tokenizer.start_id)), tf.cast(ids, tf.int32)]
        if self.pairs:
            parts.append(tf.RaggedTensor.from_tensor(tf.fill(column, tokenizer.separator_id)))
        rows = tf.concat(parts, axis=1)
        lengths = tf.cast(rows.row_lengths(), tf.int32)
        width = tf.maximum(1, tf.reduce_max(lengths))  # a batch without rows has no longest one
        token_ids = rows.to_tensor(tokenizer.pad_id, shape=tf.stack([-1, width]))
        return {"token_ids": token_ids, "padding_mask": tf.sequence_mask(lengths, width, tf.int32)}

    def read(self, x: Any, y: Any, sample_weight: Any) -> Texts:
        texts = super().read(x, y, sample_weight)
        if texts.targets is None:
            return texts
        if texts.second is not None:
            raise TransformerError("y must be None where x holds pairs: the second text of a pair is its answer")
        check_strings(texts.targets, "an answer")
        return Texts(texts.first, list(texts.targets), None, texts.weights)

    def examples_of(self, texts: Texts, objective: Any) -> Examples:
        if texts.second is None:
            if len(texts):
                self.check(False)
            return self._rows_of(texts, objective)
        examples = super().examples_of(texts, objective)
        tokens = examples.tokens
        following = np.roll(tokens.token_ids, -1)
        following[tokens.row_splits[1:] - 1] = IGNORED
        # The last token of a prompt, the separator, is where the answer begins.
        starts, places = tokens.row_splits[:-1], np.arange(len(following))
        prompts = places < np.repeat(starts + tokens.boundaries - 1, tokens.lengths)
        following = np.where(prompts, IGNORED, following).astype("int32")
        return replace(examples, targets=TokenLabels(Ragged(following, tokens.row_splits), ignore=IGNORED))

    def _rows_of(self, texts: Texts, objective: Any) -> Examples:
        """Whole texts in rows, each with the token that follows it as the last target."""
        tokenizer, length = self.tokenizer, self.sequence_length
        ids, following, lengths, weights, whole = [], [], [], [], []
        for start in range(0, len(texts), CHUNK_TEXTS):
            tokens = tokenizer.tokenize(tf.constant(texts.first[start : start + CHUNK_TEXTS], tf.string))
            for number, row in enumerate(np.split(tokens.values.numpy(), tokens.row_splits.numpy()[1:-1]), start):
                text = np.concatenate([[tokenizer.start_id], row, [tokenizer.separator_id]])
                for place in range(0, len(text) - 1, length):
                    part = text[place : place + length + 1]
                    ids.append(part[:-1])
                    following.append(part[1:])
                    lengths.append(len(part) - 1)
                    whole.append(len(text))
                    weights.append(1.0 if texts.weights is None else texts.weights[number])
        splits, lengths = row_splits(np.array(lengths, "int64")), np.array(lengths, "int32")
        token_ids, following = (np.concatenate([np.zeros(0, "int32"), *v]).astype("int32") for v in (ids, following))
        return Examples(
            {TEXT: Tokens(token_ids, splits, lengths, np.array(whole, "int32"), tokenizer.pad_id)},
            TokenLabels(Ragged(following, splits), ignore=IGNORED),
            None if texts.weights is None else np.array(weights, "float32"),
            self.maker(objective),
        )

    def prompts(self, texts: Sequence[str], objective: Any) -> Examples:
        """Return rows of prompts, whose last token is what an answer or the next token follows."""
        start, end = self.tokenizer.start_id, [self.tokenizer.separator_id] if self.pairs else []
        tokens = self.tokenizer.tokenize(tf.constant(texts, tf.string)).to_list() if texts else []
        ids = Ragged.of([[start, *row, *end] for row in tokens], "int32")
        lengths = ids.lengths.astype("int32")
        field = Tokens(ids.values, ids.row_splits, lengths, lengths, self.tokenizer.pad_id)
        return Examples({TEXT: field}, maker=self.maker(objective))

    def stream(self, dataset: tf.data.Dataset, batch_size: int, objective: Any, few_shapes: bool) -> tf.data.Dataset:
        raise TransformerError("a CausalLM takes texts or pairs in a list or a Split, not in a tf.data.Dataset")
